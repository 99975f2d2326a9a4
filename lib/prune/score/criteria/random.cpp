#include <cmath>

#include "lib/prune/score/criteria/largest.h"

namespace espalier {
namespace {

// The index-th number of the sequence that starts at `seed` (SplitMix64; Steele, Lea and Flood,
// OOPSLA 2014): any of them without the ones before, so threads and order do not matter.
uint64_t split_mix(uint64_t seed, uint64_t index) {
  uint64_t z = seed + (index + 1) * 0x9E3779B97F4A7C15;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

/// A number in (0, 1) for each block: what pruning costs where the choice is not made by the
/// weights. A block that holds a NaN is kept here too.
void score(const ScoreContext& context, size_t first, size_t last, std::span<float> scores) {
  score_blocks<Largest>(context, first, last, scores);
  const size_t cols = ceil_div(context.weight.fold.cols, context.block.cols);
  for (size_t i = first * cols; i < last * cols; ++i) {
    if (std::isinf(scores[i])) continue;
    scores[i] = (static_cast<float>(split_mix(context.seed, i) >> 41) + 0.5F) * 0x1p-23F;
  }
}

}  // namespace

constinit const Criterion random_criterion{
    .name = "random", .summary = "a random number", .score = score, .area_power = 0};

}  // namespace espalier
