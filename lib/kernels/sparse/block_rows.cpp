#include "lib/kernels/sparse/block_rows.h"

#include <algorithm>

#include "lib/sparse/pack.h"

namespace espalier {
namespace {

// Row-major blocks to the order of order_blocks.
template <typename T>
void transpose_blocks(const Tensor& values, BlockShape block, size_t beside, Tensor& transposed) {
  const T* from = reinterpret_cast<const T*>(values.bytes().data());
  T* to = reinterpret_cast<T*>(transposed.mutable_bytes().data());
  const size_t blocks = values.count() / block.area();
  for (size_t b = 0; b < blocks; ++b, from += block.area(), to += block.area())
    for (size_t r = 0; r < block.rows; ++r)
      for (size_t c = 0; c < block.cols; ++c)
        to[c / beside * beside * block.rows + r * beside + c % beside] = from[r * block.cols + c];
}

void transpose_blocks(const Tensor& values, BlockShape block, size_t beside, Tensor& transposed) {
  switch (bytes_of(values.dtype())) {
    case 1:
      return transpose_blocks<uint8_t>(values, block, beside, transposed);
    case 2:
      return transpose_blocks<uint16_t>(values, block, beside, transposed);
    default:
      return transpose_blocks<uint32_t>(values, block, beside, transposed);
  }
}

// All but the values.
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
  if (weight.has_diagonal()) w.diagonal = to_f32(weight.diagonal);
  return w;
}

}  // namespace

size_t BlockRows::bytes() const {
  return places.size() * sizeof(BlockRowPlace) + row_start.size() * sizeof(uint32_t) +
         narrow_col.size() * sizeof(uint16_t) + wide_col.size() * sizeof(uint32_t) +
         values.bytes().size() + (scale.size() + diagonal.size()) * sizeof(float);
}

BlockRows order_blocks(const SparseMatrix& weight, bool widen, size_t beside) {
  ESPALIER_CHECK(weight.block.cols % beside == 0);
  BlockRows w = without_values(weight);
  const Tensor values = widen ? values_as_f32(weight) : weight.values.aligned();
  w.values = Tensor::zeros(values.dtype(), {static_cast<int64_t>(values.count())});
  if (weight.blocks() != 0) transpose_blocks(values, w.block, beside, w.values);
  if (values.dtype() != DType::kI8) return w;
  const std::vector<float> scale = to_f32(weight.scale);
  w.scale.assign(w.block_rows() * w.block.rows, 0.0F);
  for (size_t row = 0; row < w.block_rows(); ++row)
    std::copy_n(scale.begin() + static_cast<ptrdiff_t>(w.places[row].output), w.places[row].valid,
                w.scale.begin() + static_cast<ptrdiff_t>(row * w.block.rows));
  return w;
}

BlockRows order_rows(const SparseMatrix& weight) {
  BlockRows w = without_values(weight);
  w.values = Tensor::zeros(DType::kF32, {static_cast<int64_t>(weight.values.count())});
  std::ranges::copy(values_as_f32(weight).bytes(), w.values.mutable_bytes().begin());
  return w;
}

size_t first_row_of(const BlockRows& w, size_t item, size_t items) {
  if (item == 0) return 0;
  if (item == items) return w.block_rows();
  const size_t target = work_before(w, w.block_rows()) / items * item;
  size_t low = 0, high = w.block_rows();
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (work_before(w, middle) < target) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

}  // namespace espalier
