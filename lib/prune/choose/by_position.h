#pragma once

// Inside lib/prune only.

#include <vector>

#include "lib/prune/score/layer_moments.h"

namespace espalier {

/// Columns [channel, position] of a convolution as [position, channel]: criteria that choose N of M
/// neighbours see the channels of one position side by side.
struct ByPosition {
  size_t channels, positions;

  size_t column_of(size_t moved) const { return moved % channels * positions + moved / channels; }
  std::vector<float> weights(std::span<const float> given, const Fold& fold) const;
  LayerMoments moments(const LayerMoments& given) const;
  /// Scores of 1x1 blocks back to where their weights are.
  std::vector<float> scores_back(std::span<const float> moved, const Fold& fold) const;
};

}  // namespace espalier
