#pragma once

// Inside lib/prune only.

#include <Eigen/Core>

#include "lib/prune/score/criterion.h"
#include "lib/prune/score/obs.h"

namespace espalier {

/// One row group's weights in f64, and what may not go. A diagonal kept apart stands outside, as
/// zeros: what is left of its rows is pruned around it. NaN and infinities are zeros too, and their
/// blocks pinned.
struct RowGroup {
  Eigen::MatrixXd weights;
  RemovalRules rules;
};
RowGroup row_group(const ScoreContext& context, size_t part, size_t block_row);

}  // namespace espalier
