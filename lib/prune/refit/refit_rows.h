#pragma once

// Inside lib/prune only.

#include <Eigen/Core>
#include <optional>
#include <vector>

namespace espalier {

/// Weights [rows, cols] that keep columns `kept` alone and come nearest to `weights` in the sense
/// of H: the minimum of tr((W - W0) H (W - W0)^T). `diagonal`: row r keeps column first_row + r,
/// too. With the inverse P of H, what is dropped is factorised where it is less than what is kept:
/// W_S -= W_D (P_DD)^-1 P_DS. Nothing where a factorisation fails.
std::optional<Eigen::MatrixXd> refit_rows(const Eigen::MatrixXd& weights, const Eigen::MatrixXd& h,
                                          const std::vector<bool>& kept, bool diagonal,
                                          size_t first_row,
                                          const Eigen::MatrixXd* inverse = nullptr);

}  // namespace espalier
