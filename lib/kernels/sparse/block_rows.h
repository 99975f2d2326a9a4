#pragma once

#include <cstdint>
#include <vector>

#include "lib/sparse/sparse_matrix.h"

namespace espalier {

/// Outputs of a block row: the first one, the matching input on a diagonal, and how many of its
/// rows lie inside its part.
struct BlockRowPlace {
  size_t output, row_in_part, valid;
};

/// A packed weight in the order the kernels read it. Invariant: as SparseMatrix; values begins at a
/// multiple of 64 bytes.
struct BlockRows {
  BlockShape block;
  size_t parts = 0, rows = 0, k = 0;  ///< of the Fold; k = inputs
  size_t grid_rows = 0;               ///< block rows of one part
  std::vector<uint32_t> row_start;    ///< per block row of all parts, and the end
  std::vector<BlockRowPlace> places;  ///< per block row of all parts
  /// First input of each block: narrow where every one fits, else wide; the other is empty.
  std::vector<uint16_t> narrow_col;
  std::vector<uint32_t> wide_col;
  Tensor values;  ///< in the order of order_blocks or order_rows
  /// Of i8 values: what a value of each output is worth, [block_rows() * block.rows]; else empty.
  std::vector<float> scale;
  std::vector<float> diagonal;  ///< empty or [parts * rows]

  /// Of values, without its checks: asked for in inner loops.
  const float* data() const { return data_as<float>(); }
  template <typename T>
  const T* data_as() const {
    return reinterpret_cast<const T*>(values.bytes().data());
  }
  /// First input of block `b`.
  size_t column(size_t b) const { return wide_col.empty() ? narrow_col[b] : wide_col[b]; }
  size_t outputs() const { return parts * rows; }
  size_t block_rows() const { return parts * grid_rows; }
  /// Inputs up to the end of the last block: x is read that far.
  size_t padded_k() const { return round_up(k, block.cols); }
  size_t bytes() const;
};

/// Values as [blocks, block.cols / beside, block.rows, beside]: that many columns of a block are
/// one or a few whole vectors; `beside` divides block.cols. With `widen` they become f32.
BlockRows order_blocks(const SparseMatrix& weight, bool widen, size_t beside = 1);

/// Values as [blocks, block.rows, block.cols], as they come: one row of a block is one or a few
/// whole vectors. They become f32.
BlockRows order_rows(const SparseMatrix& weight);

/// Work of block row `row` and all before it, in stored values with a share for the row itself:
/// where to cut rows among threads.
inline size_t work_before(const BlockRows& w, size_t row) {
  return w.row_start[row] * w.block.area() + row * w.block.rows;
}

/// First block row of item `item` of `items`: cuts rows into shares of about equal work. Whoever
/// computes a row sums it in the same order, so results do not depend on the cut.
size_t first_row_of(const BlockRows& w, size_t item, size_t items);

}  // namespace espalier
