#pragma once

// Inside lib/prune only: symmetric positive definite matrices, by products of matrices
// (SymmetricPanels). Nothing where rounding left a matrix not positive definite.

#include <Eigen/Core>
#include <optional>

#include "lib/base/thread_pool.h"

namespace espalier {

/// The inverse, by sweeps over 64 columns at a time; the same on any threads.
/// Cost    cols^3 multiply-adds / 2, in f64
/// Source  Goodnight 1979, "A tutorial on the SWEEP operator".
std::optional<Eigen::MatrixXd> spd_inverse(const Eigen::MatrixXd& a, ThreadPool& pool);

/// a^-1 b, by a Cholesky factorisation on the calling thread.
/// Cost    cols^3 / 6 multiply-adds and b.cols() * cols^2, in f64
std::optional<Eigen::MatrixXd> spd_solve(const Eigen::MatrixXd& a, const Eigen::MatrixXd& b);

}  // namespace espalier
