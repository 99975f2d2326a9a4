#pragma once

#include <span>
#include <vector>

#include "lib/base/thread_pool.h"
#include "lib/prune/options/prune_options.h"
#include "lib/sparse/block_mask.h"

namespace espalier {

/// Scores of a layer's blocks, in BlockMask's order, and what tells how many weights each holds:
/// edge blocks hold fewer, and elements (r, r) of parts whose diagonal is kept apart do not count.
struct BlockScores {
  Fold fold;
  BlockShape block;
  bool skip_diagonal = false;
  std::vector<float> scores;
};

/// Weights in the block that holds no diagonal element, or without those that it holds.
size_t weights_in_block(const BlockScores& scores, size_t part, size_t block_row, size_t block_col);
/// Weights of all parts that pruning may drop.
size_t weights_in_all(const BlockScores& scores);

/// Share of weights_in_all that lies in blocks which `mask` drops.
double dropped_share(const BlockScores& scores, const BlockMask& mask);

/// Parts [first, last) of a layer and the mask that gets their blocks (one mask for each range);
/// `scale` makes scores of different layers comparable.
struct PartRange {
  const BlockScores* scores;
  size_t first, last;
  float scale = 1;
  BlockMask* mask;
};

/// Drops the lowest blocks of all ranges together, until the weights in dropped blocks come nearest
/// to `sparsity` of all weights in the ranges: at most half a block's weights away. Of equal
/// scores the one of the lower index goes first (first range first). A block without countable
/// weights (a diagonal element alone) is always dropped: nothing of it would be stored.
/// Cost    three passes over the scores and three over those of one radix bucket; no sorting.
void drop_lowest(std::span<const PartRange> ranges, double sparsity, ThreadPool& pool);

/// In each group of nm.of neighbouring inputs of one output (of a convolution with `positions`:
/// channels of one window position, as TensorRT, TFLite and torch take N:M) keeps the nm.keep highest; of equal
/// scores the one of the lower index goes first. A group that lacks elements (at the right edge, or
/// one that holds a diagonal kept apart) keeps ceil(keep * left / of). `mask` is of 1x1 blocks.
void keep_n_of_m(const BlockScores& scores, NofM nm, size_t positions, BlockMask& mask,
                 ThreadPool& pool);

}  // namespace espalier
