// The decode of a bitmap, and what strips of all decodes share.
#include <fmt/format.h>

#include "formats/nnef/write/packed.h"
#include "formats/nnef/write/strips.h"
#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

bool is_last(const SparseMatrix& matrix, const Strip& strip) {
  const Strip all = entire(matrix);
  return strip.bottom == all.bottom && strip.right == all.right;
}

// One item for each block of the strip, then zeros.
Tensor strip_mask(const SparseMatrix& matrix, const Strip& strip, const Shape& shape) {
  Tensor mask = Tensor::zeros(DType::kBool, shape);
  const std::span<uint8_t> items = mask.mutable_data<uint8_t>();
  for_each_block(matrix, strip,
                 [&](size_t, size_t row, size_t col) { items[row * strip.cols() + col] = 1; });
  return index_made(matrix, strip, std::move(mask));
}

// Parts of the strip and what is inside of each: [parts, rows * br, cols * bc], [rows, cols].
std::pair<Shape, Shape> padded_and_kept(const SparseMatrix& matrix, const Strip& strip) {
  const auto [br, bc] = matrix.block;
  const Strip all = entire(matrix);
  const auto width = static_cast<int64_t>(strip.cols() * bc);
  if (strip.rows() == all.rows() && strip.cols() == all.cols()) {
    return {{static_cast<int64_t>(matrix.fold.parts), static_cast<int64_t>(matrix.grid_rows() * br),
             width},
            {static_cast<int64_t>(matrix.fold.rows), static_cast<int64_t>(matrix.fold.cols)}};
  }
  return {{1, static_cast<int64_t>(strip.rows() * br), width}, inside(matrix, strip)};
}

}  // namespace

Tensor index_made(const SparseMatrix& matrix, const Strip& strip, Tensor index) {
  if (is_last(matrix, strip)) {
    matrix.row_start.give_back();
    matrix.col.give_back();
  }
  return index;
}

Wire write_values(const WeightWriter& w, const std::string& label, const SparseMatrix& matrix,
                  const Strip& strip) {
  const size_t blocks = blocks_of(matrix, strip);
  return w.part("values", label, matrix.values.dtype(),
                {static_cast<int64_t>(blocks), matrix.block.rows, matrix.block.cols},
                [&matrix, strip, blocks] {
                  if (blocks == matrix.blocks()) return matrix.values;
                  Tensor values = strip_values(matrix, strip, blocks);
                  if (is_last(matrix, strip)) matrix.values.give_back();
                  return values;
                });
}

const Wire& count_up(const WeightWriter& w, std::string_view name, const Shape& shape) {
  const std::string key = fmt::format("{}_{}", name, element_count(shape));
  const auto found = w.state.counters.find(key);
  if (found != w.state.counters.end()) return found->second;
  const auto make = [shape] {
    std::vector<float> values(element_count(shape));
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
    return Tensor::of<float>(shape, std::span<const float>(values));
  };
  return w.state.counters[key] = w.variable(w.state.names.identifier(key), w.state.names.label(key),
                                            DType::kF32, shape, make);
}

Wire write_bitmap(const WeightWriter& w, const std::string& label, const SparseMatrix& matrix,
                  const Strip& strip, const Shape& shape) {
  const auto [br, bc] = matrix.block;
  const size_t rows = strip.rows(), cols = strip.cols();
  const BitmapPages pages(rows * cols);
  const auto side = static_cast<int64_t>(pages.side);
  const Shape extents{static_cast<int64_t>(pages.pages), side, side};
  const Wire values = write_values(w, label, matrix, strip);
  const Wire mask = w.part("mask", label, DType::kBool, extents, [&matrix, strip, extents] {
    return strip_mask(matrix, strip, extents);
  });
  const std::string ids = count_up(w, "ids", {side, 1}).id;
  const auto [padded, keep] = padded_and_kept(matrix, strip);
  w.use(Decode::bitmap);
  return w.step("decoded",
                fmt::format("{}({}, {}, {}, pages = [{}, {}], flat = [{}], cells = [{}, 1, 1], "
                            "count = [{}], grid = [{}, {}, {}, {}], padded = {}, keep = {}, shape "
                            "= {})",
                            decode_fragment(Decode::bitmap).name, values.id, mask.id, ids,
                            pages.pages, pages.pages, pages.cells(), pages.cells(), rows * cols,
                            rows, cols, br, bc, list(padded), list(keep), list(shape)),
                shape);
}

}  // namespace espalier::nnef
