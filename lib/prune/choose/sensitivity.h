#pragma once

#include <span>

#include "lib/prune/choose/choose_blocks.h"

namespace espalier {

/// What the model's outputs lost when one layer alone was pruned.
struct SensitivityPoint {
  double score = 0;     ///< sum of the scores of the blocks that were dropped
  double distance = 0;  ///< of the outputs, 0 = none
};

/// Sum of finite scores in the blocks that `mask` drops.
double dropped_score(const BlockScores& scores, const BlockMask& mask);

/// Turns a layer's scores into what dropping a block adds to the distance of the model's outputs,
/// so that layers compare. The order of the blocks stays.
///
/// Formula  D(S), the distance where blocks of the scores' sum S are gone, is the lower convex hull
///          of (0, 0) and `points`, its last slope going on; a block's new score is its old one
///          times D's slope where it lies. Points that are no finite numbers are worst: from the
///          point before them on nothing but slope 1e6 times the steepest.
/// Errors   none; no points: scores stay.
void scores_to_distances(std::span<const SensitivityPoint> points, BlockScores& scores);

}  // namespace espalier
