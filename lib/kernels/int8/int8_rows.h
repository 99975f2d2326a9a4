#pragma once

#include <cstdint>
#include <vector>

#include "lib/kernels/sparse/block_rows.h"

namespace espalier {

/// A weight for the dot products: values as [tiles, block.rows, inputs / 4, 4]. A tile is a block,
/// or with blocks of one input four of a block row: then narrow_col holds its four inputs, and
/// zeros fill up the last tile of a block row. narrow_col counts inputs, row_start tiles.
struct Int8Rows {
  BlockRows rows;
  size_t padded_k;              ///< of rows
  std::vector<int32_t> offset;  ///< per row of each block row: -128 * sum of its values
};

/// `weight` in that order. takes_int8(weight) holds.
Int8Rows order_int8(const SparseMatrix& weight);

}  // namespace espalier
