#include "lib/kernels/int8/int8_rows.h"

#include <utility>

#include "lib/base/checked_math.h"

namespace espalier {

// Cuts the blocks of each block row into tiles, puts the four bytes of every row of a tile next to
// each other and sums up the values of each row.
Int8Rows order_int8(const SparseMatrix& weight) {
  Int8Rows result;
  BlockRows& w = result.rows;
  w = order_blocks(weight, false);
  result.padded_k = w.padded_k();
  const BlockShape block = w.block;
  const size_t area = block.area(), tile = block.cols == 1 ? 4 : 1;  // blocks of a tile
  const std::vector<uint32_t> row_start = std::exchange(w.row_start, {0});
  const std::vector<uint16_t> col = std::exchange(w.narrow_col, {});
  const Tensor values = w.values;
  for (size_t row = 0; row < w.block_rows(); ++row)
    w.row_start.push_back(w.row_start.back() + static_cast<uint32_t>(ceil_div(
                                                   row_start[row + 1] - row_start[row], tile)));
  const size_t tiles = w.row_start.back();
  w.values = Tensor::zeros(DType::kI8, {static_cast<int64_t>(tiles * tile * area)});
  w.narrow_col.reserve(tiles * tile);
  result.offset.assign(w.block_rows() * block.rows, 0);
  const auto* from = reinterpret_cast<const int8_t*>(values.bytes().data());
  auto* to = reinterpret_cast<int8_t*>(w.values.mutable_bytes().data());
  const size_t inputs = tile * block.cols;  // of a tile
  for (size_t row = 0; row < w.block_rows(); ++row) {
    for (size_t b = row_start[row]; b < row_start[row + 1]; ++b) {
      const size_t place = b - row_start[row];
      int8_t* into = to + (w.row_start[row] + place / tile) * inputs * block.rows + place % tile;
      w.narrow_col.push_back(col[b]);
      for (size_t c = 0; c < block.cols; ++c)
        for (size_t r = 0; r < block.rows; ++r) {
          const int8_t value = from[b * area + c * block.rows + r];
          into[r * inputs + c] = value;
          result.offset[row * block.rows + r] -= 128 * value;
        }
    }
    while (w.narrow_col.size() < w.row_start[row + 1] * tile) w.narrow_col.push_back(0);
  }
  return result;
}

}  // namespace espalier
