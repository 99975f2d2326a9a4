#pragma once

// Inside lib/prune only.

#include <Eigen/Core>
#include <optional>
#include <vector>

namespace espalier {

/// Weights [rows, cols] that keep columns `kept` alone and come nearest to `weights` in the sense
/// of H: the minimum of tr((W - W0) H (W - W0)^T). `diagonal`: row r keeps column first_row + r,
/// too. Nothing where H_SS cannot be factorised.
std::optional<Eigen::MatrixXd> refit_rows(const Eigen::MatrixXd& weights, const Eigen::MatrixXd& h,
                                          const std::vector<bool>& kept, bool diagonal,
                                          size_t first_row);

}  // namespace espalier
