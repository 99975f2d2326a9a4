#include "formats/nnef/write/strips.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace espalier::nnef {
namespace {

bool is_folded(const SparseMatrix& matrix, const Strip& strip, size_t blocks, IndexCost index) {
  size_t cells = strip.rows() * strip.cols();
  if (index.of_cell != 0) cells = BitmapPages(cells).cells();
  return cells * matrix.block.area() <= kFoldedItems && cells * index.of_cell <= kFoldedBytes &&
         blocks * index.of_kept <= kFoldedBytes;
}

// Block columns of a strip of which one block row is folded however full it is.
size_t strip_width(const SparseMatrix& matrix, IndexCost index) {
  size_t most =
      std::min(kFoldedItems / matrix.block.area(), kFoldedBytes / (index.of_kept + index.of_cell));
  if (index.of_cell != 0) most -= most / 16;  // more than pages are padded by
  const size_t cols = matrix.grid_cols();
  return ceil_div(cols, ceil_div(cols, std::max<size_t>(1, most)));
}

}  // namespace

BitmapPages::BitmapPages(size_t cells) : pages(1), side(1) {
  while (side * side * side < cells) ++side;
  pages = std::max<size_t>(1, ceil_div(cells, side * side));
}

// Of all of the weight without a look at its index, which may have to be made for that.
size_t blocks_of(const SparseMatrix& matrix, const Strip& strip) {
  const Strip all = entire(matrix);
  if (strip.rows() == all.rows() && strip.cols() == all.cols()) return matrix.blocks();
  size_t count = 0;
  for_each_block(matrix, strip, [&](size_t, size_t, size_t) { ++count; });
  return count;
}

Tensor strip_values(const SparseMatrix& matrix, const Strip& strip, size_t count) {
  const DType dtype = matrix.values.dtype();
  Tensor result =
      Tensor::zeros(dtype, {static_cast<int64_t>(count), matrix.block.rows, matrix.block.cols});
  const size_t bytes = matrix.block.area() * bytes_of(dtype);
  std::byte* to = result.mutable_bytes().data();
  const std::byte* from = matrix.values.bytes().data();
  for_each_block(matrix, strip, [&](size_t b, size_t, size_t) {
    std::memcpy(to, from + b * bytes, bytes);
    to += bytes;
  });
  return result;
}

Shape inside(const SparseMatrix& matrix, const Strip& strip) {
  const size_t part_rows = matrix.grid_rows();
  size_t rows = strip.rows() * matrix.block.rows;
  if (strip.bottom % part_rows == 0) rows -= part_rows * matrix.block.rows - matrix.fold.rows;
  const size_t cols =
      std::min(strip.right * matrix.block.cols, matrix.fold.cols) - strip.left * matrix.block.cols;
  return {static_cast<int64_t>(rows), static_cast<int64_t>(cols)};
}

bool is_folded_whole(const SparseMatrix& matrix, IndexCost index) {
  return is_folded(matrix, entire(matrix), matrix.blocks(), index);
}

// Block rows are added while all strips next to each other stay folded.
StripRows folded_strips(const SparseMatrix& matrix, IndexCost index) {
  const size_t rows = matrix.fold.parts * matrix.grid_rows(), cols = matrix.grid_cols();
  const bool ragged_parts = matrix.fold.rows % matrix.block.rows != 0;
  const size_t width = strip_width(matrix, index);
  StripRows result;
  for (size_t top = 0; top < rows; top = result.back()[0].bottom) {
    const size_t end = ragged_parts ? (top / matrix.grid_rows() + 1) * matrix.grid_rows() : rows;
    std::vector<Strip> strips;
    for (size_t left = 0; left < cols; left += width) {
      strips.push_back({top, top, left, std::min(cols, left + width)});
    }
    std::vector<size_t> blocks(strips.size(), 0);
    while (strips[0].bottom < end) {
      std::vector<size_t> more = blocks;
      bool fits = true;
      for (size_t i = 0; i < strips.size(); ++i) {
        const Strip& now = strips[i];
        more[i] += blocks_of(matrix, {now.bottom, now.bottom + 1, now.left, now.right});
        const Strip next{now.top, now.bottom + 1, now.left, now.right};
        fits = fits && is_folded(matrix, next, more[i], index);
      }
      if (!fits && strips[0].rows() > 0) break;
      blocks = more;
      for (Strip& strip : strips) ++strip.bottom;
    }
    result.push_back(std::move(strips));
  }
  return result;
}

Wire join(const WeightWriter& w, std::string_view suffix, const std::vector<Wire>& wires,
          size_t axis) {
  if (wires.size() == 1) return wires[0];
  std::vector<std::string> ids;
  Shape shape;
  for (const Wire& wire : wires) {
    ids.push_back(wire.id);
    for (size_t i = 0; i < 2; ++i) {
      const int64_t extent = *(*wire.extents)[i].constant();
      if (shape.size() < 2) {
        shape.push_back(extent);
      } else if (i == axis) {
        shape[i] += extent;
      }
    }
  }
  return w.step(suffix, fmt::format("concat([{}], axis = {})", fmt::join(ids, ", "), axis), shape);
}

// Strips of a row are joined along the inputs, rows along the outputs.
Wire write_strips(
    const WeightWriter& w, const std::string& label, const SparseMatrix& matrix, const Shape& shape,
    const StripRows& strips,
    const std::function<Wire(const std::string& name, const Strip& strip)>& write_one) {
  std::vector<Wire> rows;
  for (size_t r = 0; r < strips.size(); ++r) {
    const std::string row = strips.size() == 1 ? label : fmt::format("{}/{}", label, r);
    std::vector<Wire> wires;
    for (size_t c = 0; c < strips[r].size(); ++c) {
      const std::string one = strips[r].size() == 1 ? row : fmt::format("{}/{}", row, c);
      wires.push_back(write_one(w.state.names.packed_label(one), strips[r][c]));
    }
    rows.push_back(join(w, "row", wires, 1));
  }
  matrix.row_start.give_back();
  matrix.col.give_back();
  const Wire whole = join(w, "joined", rows, 0);
  const Shape matrix_shape{static_cast<int64_t>(matrix.fold.parts * matrix.fold.rows),
                           static_cast<int64_t>(matrix.fold.cols)};
  if (matrix_shape == shape) return whole;
  return w.step("shaped", fmt::format("reshape({}, shape = {})", whole.id, list(shape)), shape);
}

}  // namespace espalier::nnef
