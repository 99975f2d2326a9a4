#pragma once

// Inside lib/prune only.

#include <Eigen/Core>
#include <cstdint>
#include <vector>

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
};

/// The Optimal Brain Surgeon over the blocks of one row group: takes the block whose loss costs
/// least, lets the other weights of its rows make up for it, and goes on until nothing is left.
///
/// weights   [rows, cols], changed on the way
/// inverse   [cols, cols], of H, the mean of x x^T: the R rows share it, and the mask
/// Formula   loss of block B: sum over rows w_B (P_BB)^-1 w_B^T; w -= w_B (P_BB)^-1 P_B:,
///           P -= P_:B (P_BB)^-1 P_B:. Of equal losses the lower index goes first.
/// Cost      about 2/3 cols^3 + rows * cols^2; memory 8 cols^2 bytes.
/// Source    Hassibi and Stork 1992; arXiv:2208.11580, for blocks that several rows share.
std::vector<Removal> obs_trace(Eigen::MatrixXd weights, Eigen::MatrixXd inverse,
                               uint32_t block_cols, const RemovalRules& rules);

}  // namespace espalier
