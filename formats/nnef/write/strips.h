#pragma once

#include <functional>
#include <string>
#include <vector>

#include "formats/nnef/write/packed.h"

namespace espalier::nnef {

/// What stock tract computes at load: a node whose inputs are constants is folded if its output takes
/// no more bytes than all its inputs together or this, whichever is more, and if each input that has
/// several readers is of numbers and takes no more than this, but for slices. All else is computed
/// in every call, with all that follows from it.
/// Source  tract-core 0.23.9, optim/prop_const.rs.
constexpr size_t kFoldedBytes = size_t{4} << 20;
constexpr size_t kFoldedItems = kFoldedBytes / sizeof(float);
/// Bytes of an index once it is widened to i64: of each kept block, or of each block of the grid.
struct IndexCost {
  size_t of_kept, of_cell;
};
/// Of a block's row and column, and of its place among the values of a bitmap.
constexpr IndexCost kGridIndex{2 * sizeof(int64_t), 0}, kBitmapIndex{0, sizeof(int64_t)};

/// Rows of pages that the decode of a bitmap counts in, [pages, side, side], for so many blocks.
struct BitmapPages {
  size_t pages, side;
  explicit BitmapPages(size_t cells);
  size_t cells() const { return pages * side * side; }
};

/// Block rows [top, bottom) of all parts stacked, block columns [left, right).
struct Strip {
  size_t top, bottom, left, right;

  size_t rows() const { return bottom - top; }
  size_t cols() const { return right - left; }
};

/// All of the weight.
inline Strip entire(const SparseMatrix& matrix) {
  return {0, matrix.fold.parts * matrix.grid_rows(), 0, matrix.grid_cols()};
}

/// Calls visit(block, block row, block column) for the blocks of a strip, in order.
template <typename Visit>
void for_each_block(const SparseMatrix& matrix, const Strip& strip, const Visit& visit) {
  const std::vector<uint32_t>&row_start = matrix.row_start, &cols = matrix.col;
  for (size_t row = strip.top; row < strip.bottom; ++row) {
    for (size_t b = row_start[row]; b < row_start[row + 1]; ++b) {
      const size_t col = cols[b];
      if (col >= strip.left && col < strip.right) visit(b, row - strip.top, col - strip.left);
    }
  }
}

size_t blocks_of(const SparseMatrix& matrix, const Strip& strip);
/// The values of its blocks, then zeros up to `count` blocks: [count, br, bc].
Tensor strip_values(const SparseMatrix& matrix, const Strip& strip, size_t count);
/// Elements of a strip that are inside of the weight: [rows, columns].
Shape inside(const SparseMatrix& matrix, const Strip& strip);

/// Rows of strips from top to bottom, each from left to right. A part whose edge is ragged ends its
/// strips.
using StripRows = std::vector<std::vector<Strip>>;

/// The largest strips whose decode is folded: f32 tiles of a strip take at most kFoldedBytes, and so
/// do its indices once they are widened.
StripRows folded_strips(const SparseMatrix& matrix, IndexCost index);
/// Whether one decode of the entire weight is folded.
bool is_folded_whole(const SparseMatrix& matrix, IndexCost index);

/// Strips joined by concat, in `shape`. `write_one` gives a strip as a matrix of what is inside of
/// it; `name` is NAME/row or NAME/row/column.
Wire write_strips(
    const WeightWriter& w, const std::string& label, const SparseMatrix& matrix, const Shape& shape,
    const StripRows& strips,
    const std::function<Wire(const std::string& name, const Strip& strip)>& write_one);

/// Wires in a row; one alone is itself. Their extents add up along `axis`.
Wire join(const WeightWriter& w, std::string_view suffix, const std::vector<Wire>& wires,
          size_t axis);

}  // namespace espalier::nnef
