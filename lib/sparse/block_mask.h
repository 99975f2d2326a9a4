#pragma once

#include <cstddef>
#include <vector>

#include "lib/base/checked_math.h"
#include "lib/sparse/block_shape.h"
#include "lib/tensor/matrix_view.h"

namespace espalier {

/// One bit per block of a folded weight, part after part, block row after block row; true = kept.
/// Each part has a grid of its own, whose last block row and column may stick out of the part (5x3
/// blocks on 192 rows).
struct BlockMask {
  BlockShape block;
  size_t parts = 1, rows = 0, cols = 0;  ///< of the Fold
  std::vector<bool> kept;

  BlockMask() = default;
  BlockMask(BlockShape block, const Fold& fold, bool value)
      : block(block),
        parts(fold.parts),
        rows(fold.rows),
        cols(fold.cols),
        kept(parts * grid_rows() * grid_cols(), value) {}

  size_t grid_rows() const { return ceil_div(rows, block.rows); }  ///< of one part
  size_t grid_cols() const { return ceil_div(cols, block.cols); }
  size_t blocks() const { return kept.size(); }
  size_t index(size_t part, size_t block_row, size_t block_col) const {
    return (part * grid_rows() + block_row) * grid_cols() + block_col;
  }
  /// Whether the block that holds element (part, r, c) is kept.
  bool at(size_t part, size_t r, size_t c) const {
    return kept[index(part, r / block.rows, c / block.cols)];
  }
  size_t kept_blocks() const;
  bool operator==(const BlockMask&) const = default;
};

}  // namespace espalier
