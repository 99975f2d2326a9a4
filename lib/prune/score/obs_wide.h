#pragma once

// Inside lib/prune only.

#include "lib/prune/score/obs.h"

namespace espalier {

/// obs_trace() for blocks of many columns: each block's corner of P is a matrix of its own, all is
/// in f64. With few blocks in a row group, neighbouring blocks fill no vector: planes over the
/// blocks, as obs.cpp has them, are slower.
std::vector<Removal> obs_trace_wide(const Eigen::MatrixXd& weights, const Eigen::MatrixXd& inverse,
                                    uint32_t block_cols, const RemovalRules& rules);

}  // namespace espalier
