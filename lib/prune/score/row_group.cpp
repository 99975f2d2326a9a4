#include "lib/prune/score/row_group.h"

#include <algorithm>
#include <cmath>

#include "lib/base/checked_math.h"

namespace espalier {

using Eigen::Index;

RowGroup row_group(const ScoreContext& context, size_t part, size_t block_row) {
  const Fold& fold = context.weight.fold;
  const BlockShape block = context.block;
  const size_t r0 = block_row * block.rows, r1 = std::min<size_t>(r0 + block.rows, fold.rows);
  RowGroup group;
  group.weights.resize(static_cast<Index>(r1 - r0), static_cast<Index>(fold.cols));
  group.rules.pinned.assign(ceil_div(fold.cols, block.cols), false);
  if (context.of != 0) {
    group.rules.group = context.of;
    group.rules.removable = context.of - context.keep;
    group.rules.run = context.run;
  }
  for (size_t r = r0; r < r1; ++r) {
    for (size_t c = 0; c < fold.cols; ++c) {
      const bool outside = context.skip_diagonal && r == c;
      float weight = outside ? 0 : context.weight.at(part, r, c);
      if (!std::isfinite(weight)) {
        group.rules.pinned[c / block.cols] = true;
        weight = 0;
      }
      group.weights(static_cast<Index>(r - r0), static_cast<Index>(c)) = weight;
    }
  }
  return group;
}

}  // namespace espalier
