#include "lib/kernels/block_rows.h"

#include <algorithm>

namespace espalier {
namespace {

// Row-major blocks to column-major ones.
void transpose_blocks(const float* from, size_t blocks, BlockShape block, float* to) {
  for (size_t b = 0; b < blocks; ++b, from += block.area(), to += block.area())
    for (size_t r = 0; r < block.rows; ++r)
      for (size_t c = 0; c < block.cols; ++c) to[c * block.rows + r] = from[r * block.cols + c];
}

// All but the values, which are zero.
BlockRows without_values(const SparseMatrix& weight) {
  BlockRows w;
  w.block = weight.block;
  w.parts = weight.fold.parts;
  w.rows = weight.fold.rows;
  w.k = weight.fold.cols;
  w.grid_rows = weight.grid_rows();
  w.row_start = weight.row_start;
  for (size_t part = 0; part < w.parts; ++part)
    for (size_t row = 0; row < w.rows; row += w.block.rows)
      w.places.push_back({part * w.rows + row, row, std::min<size_t>(w.block.rows, w.rows - row)});
  if (w.padded_k() <= 65536) {
    for (const uint32_t col : weight.col)
      w.narrow_col.push_back(static_cast<uint16_t>(col * w.block.cols));
  } else {
    for (const uint32_t col : weight.col) w.wide_col.push_back(col * w.block.cols);
  }
  w.values = Tensor::zeros(DType::kF32, {static_cast<int64_t>(weight.values.count())});
  if (weight.has_diagonal()) w.diagonal = to_f32(weight.diagonal);
  return w;
}

}  // namespace

size_t BlockRows::bytes() const {
  return places.size() * sizeof(BlockRowPlace) + row_start.size() * sizeof(uint32_t) +
         narrow_col.size() * sizeof(uint16_t) + wide_col.size() * sizeof(uint32_t) +
         values.bytes().size() + diagonal.size() * sizeof(float);
}

BlockRows order_blocks(const SparseMatrix& weight) {
  BlockRows w = without_values(weight);
  if (weight.blocks() == 0) return w;
  const Tensor values = as_f32(weight.values);
  transpose_blocks(values.data<float>().data(), weight.blocks(), w.block,
                   w.values.mutable_data<float>().data());
  return w;
}

BlockRows order_rows(const SparseMatrix& weight) {
  BlockRows w = without_values(weight);
  const Tensor values = as_f32(weight.values);
  std::ranges::copy(values.bytes(), w.values.mutable_bytes().begin());
  return w;
}

}  // namespace espalier
