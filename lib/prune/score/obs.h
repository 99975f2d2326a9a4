#pragma once

// Inside lib/prune only.

#include <Eigen/Core>
#include <cstdint>
#include <variant>
#include <vector>

#include "lib/base/checked_math.h"
#include "lib/kernels/dense/symmetric_panels.h"

namespace espalier {

/// One block column taken from a row group, and by how much that raised the group's squared error.
struct Removal {
  uint32_t block_col;
  double loss;
};

/// Which block columns may not go, or go only so often.
struct RemovalRules {
  std::vector<bool> pinned;           ///< per block column; empty: none
  uint32_t group = 0, removable = 0;  ///< of each `group` neighbours at most `removable`; 0: any
  size_t run = 0;                     ///< groups begin anew after so many block columns; 0: never

  size_t group_of(size_t block_col) const {
    if (run == 0) return block_col / group;
    return block_col / run * ceil_div(run, group) + block_col % run / group;
  }
};

/// The inverse of H, the mean of x x^T, as all row groups of a layer begin with it: scaled so that
/// its diagonal is 1, and filled up to whole blocks with inputs of their own that no weight has.
/// For blocks of many columns (obs_wide.h) the inverse as it is.
struct ObsStart {
  uint32_t block_cols = 1;
  Eigen::VectorXd scale;  ///< [cols]: square roots of the inverse's diagonal
  std::variant<SymmetricPanels<float>, SymmetricPanels<double>, Eigen::MatrixXd> inverse;
};

/// In f32, unless an input follows from the others so closely (H_jj (H^-1)_jj > 10^4) that what is
/// left of the diagonal drowns in its rounding.
ObsStart obs_start(const Eigen::MatrixXd& inverse, const Eigen::VectorXd& diagonal_of_h,
                   uint32_t block_cols);

/// The Optimal Brain Surgeon over the blocks of one row group: takes the block whose loss costs
/// least, lets the other weights of its rows make up for it, and goes on until nothing is left.
///
/// weights   [rows, cols]
/// Formula   loss of block B: sum over rows w_B (P_BB)^-1 w_B^T with P = H^-1; w -= w_B (P_BB)^-1
///           P_B:, P -= P_:B (P_BB)^-1 P_B:. Of equal losses the lower index goes first.
/// Cost      about cols^3 / 3 + rows * cols^2; memory 2 cols^2 bytes (4 in f64).
/// Source    Hassibi and Stork 1992; arXiv:2208.11580, for blocks that several rows share.
std::vector<Removal> obs_trace(const Eigen::MatrixXd& weights, const ObsStart& start,
                               const RemovalRules& rules);

}  // namespace espalier
