#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "lib/base/thread_pool.h"
#include "lib/sparse/block_shape.h"
#include "lib/tensor/matrix_view.h"

namespace espalier {

struct LayerMoments;  // lib/prune/score/layer_moments.h

struct ScoreContext {
  MatrixView weight;  ///< f32
  BlockShape block;
  bool skip_diagonal = false;  ///< elements (r, r) of each part do not count
  uint64_t seed = 0;  ///< for criteria that draw numbers: the same seed gives the same scores,
                      ///< whatever the order of layers
  const LayerMoments* moments = nullptr;  ///< where the criterion needs them
  uint32_t keep = 0, of = 0;  ///< N:M: at most of - keep blocks of each group will go; 0: any
  double sparsity = 0;        ///< that the layer is to reach, as far as that is known
  size_t run = 0;             ///< groups of N:M begin anew after so many block columns; 0: never
};

/// How much a block is worth. Scores go part after part, block row after block row, as
/// BlockMask::index counts; a higher score stays longer. NaN weights count as infinite: they are
/// kept.
struct Criterion {
  std::string_view name, summary;
  /// Scores of block rows [first, last) of the stacked grid into `scores` (the whole grid's span).
  /// Each block's score depends on its own elements alone, and not on how the weight is stored.
  void (*score)(const ScoreContext& context, size_t first, size_t last,
                std::span<float> scores) = nullptr;
  /// With which power of the block's area the score grows (l1: 1, l2: 0.5). A global threshold
  /// divides by it, so that layers of different block shapes compare.
  double area_power = 0;
  bool needs_moments = false;  ///< of calibration inputs
  bool one_sparsity = false;   ///< scores serve the sparsity alone that they were made for
  /// In place of `score` where blocks depend on each other: the whole layer, on the pool's threads.
  void (*score_layer)(const ScoreContext& context, ThreadPool& pool,
                      std::span<float> scores) = nullptr;
  /// About how many multiply-adds a layer takes, where they grow faster than the weight.
  double (*multiply_adds)(const Fold& fold, BlockShape block) = nullptr;
};

std::span<const Criterion* const> criteria();
const Criterion* find_criterion(std::string_view name);

#define ESPALIER_CRITERION(name) extern const Criterion name##_criterion;
#include "lib/prune/score/criteria.def"
#undef ESPALIER_CRITERION

}  // namespace espalier
