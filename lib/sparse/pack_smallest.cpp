#include <algorithm>
#include <array>
#include <deque>

#include "lib/sparse/element_bits.h"
#include "lib/sparse/pack.h"
#include "lib/sparse/pack_rules.h"

namespace espalier {
namespace {

// Ascending area, so that each grid can be made from a finer one.
constexpr std::array<BlockShape, 10> kUsualBlocks{
    {{1, 1}, {4, 1}, {1, 4}, {8, 1}, {1, 8}, {16, 1}, {4, 4}, {8, 4}, {4, 8}, {16, 4}}};

// Which blocks of a weight hold an element that is not zero, one byte each, in the order of the
// weight's memory: `lines` and `length` are rows and columns, exchanged where the weight is
// transposed.
struct Grid {
  BlockShape block;
  size_t parts, lines, length;
  std::vector<uint8_t> marks;
};

template <typename T>
Grid element_grid(const Tensor& dense, const Fold& fold, bool diagonal) {
  Grid grid{{1, 1},
            fold.parts,
            fold.transposed ? fold.cols : fold.rows,
            fold.transposed ? fold.rows : fold.cols,
            std::vector<uint8_t>(dense.count())};
  const std::byte* elements = dense.bytes().data();
  for (size_t i = 0; i < grid.marks.size(); ++i)
    grid.marks[i] = !is_zero(load_bits<T>(elements, i));
  for (size_t i = 0; diagonal && i < fold.parts * fold.rows; ++i)
    grid.marks[fold.offset(i / fold.rows, i % fold.rows, i % fold.rows)] = 0;
  return grid;
}

// The grid of larger blocks; `block` is a multiple of fine.block both ways.
Grid coarser(const Grid& fine, BlockShape block, bool transposed) {
  const size_t down = block.rows / fine.block.rows, right = block.cols / fine.block.cols;
  const size_t depth = transposed ? right : down, piece = transposed ? down : right;
  Grid grid{block, fine.parts, ceil_div(fine.lines, depth), ceil_div(fine.length, piece), {}};
  grid.marks.reserve(grid.parts * grid.lines * grid.length);
  std::vector<uint8_t> strip(fine.length);
  for (size_t line = 0; line < fine.parts * fine.lines;) {
    const size_t end = std::min(line + depth, (line / fine.lines + 1) * fine.lines);
    std::ranges::fill(strip, 0);
    for (; line < end; ++line) {
      const uint8_t* marks = fine.marks.data() + line * fine.length;
      for (size_t i = 0; i < fine.length; ++i) strip[i] |= marks[i];
    }
    for (size_t i = 0; i < fine.length;) {
      uint8_t any = 0;
      for (const size_t stop = std::min(i + piece, fine.length); i < stop; ++i) any |= strip[i];
      grid.marks.push_back(any);
    }
  }
  return grid;
}

bool divides(BlockShape fine, BlockShape block) {
  return block.rows % fine.rows == 0 && block.cols % fine.cols == 0;
}

struct Choice {
  size_t bytes;
  BlockShape block;
  bool diagonal;
};

// Fewest bytes first; then without a diagonal, then the larger block, which kernels like better.
bool better(const Choice& a, const Choice& b) {
  if (a.bytes != b.bytes) return a.bytes < b.bytes;
  if (a.diagonal != b.diagonal) return b.diagonal;
  return a.block.area() > b.block.area();
}

// Tries the usual block shapes and `hint`, with the diagonal apart or not, and keeps the smallest
// in `best`. The grid of a shape is made from the coarsest one that divides it, not from the
// elements.
void try_blocks(const Tensor& dense, const Fold& fold, bool diagonal,
                std::optional<BlockShape> hint, Choice& best) {
  const size_t element = bytes_of(dense.dtype());
  const size_t apart = diagonal ? fold.parts * fold.rows * element : 0;
  std::deque<Grid> grids;  // of the blocks tried so far
  const auto try_block = [&](BlockShape block) {
    const Grid* finest = &grids.front();
    for (const Grid& grid : grids) {
      if (divides(grid.block, block) && grid.marks.size() < finest->marks.size()) finest = &grid;
    }
    if (finest->block != block)
      finest = &grids.emplace_back(coarser(*finest, block, fold.transposed));
    const auto kept = static_cast<size_t>(std::ranges::count(finest->marks, 1));
    const StoredBlocks stored{fold, block, kept, dense.dtype(), dense.dtype()};
    const size_t bytes = apart + kept * block.area() * element + index_bytes_in_file(stored);
    const Choice choice{bytes, block, diagonal};
    if (better(choice, best)) best = choice;
  };
  grids.push_back(with_bits_of(
      dense.dtype(), [&]<typename T>(T) { return element_grid<T>(dense, fold, diagonal); }));
  // No packing stores fewer values than are not zero.
  const auto nonzero = static_cast<size_t>(std::ranges::count(grids.front().marks, 1));
  if (apart + nonzero * element >= best.bytes) return;
  for (const BlockShape block : kUsualBlocks) try_block(block);
  if (hint) try_block(*hint);
}

// A signalling NaN turns quiet where a stock reader adds the diagonal to the blocks.
template <typename T>
bool has_signalling_nan(const Tensor& dense, T exponent, T quiet) {
  const std::byte* elements = dense.bytes().data();
  bool found = false;
  for (size_t i = 0; i < dense.count(); ++i) {
    const auto bits = load_bits<T>(elements, i);
    const auto magnitude = static_cast<T>(bits & ~(T{1} << (8 * sizeof(T) - 1)));
    found |= magnitude > exponent && (bits & quiet) == 0;
  }
  return found;
}

bool has_signalling_nan(const Tensor& dense) {
  switch (dense.dtype()) {
    case DType::kF32:
      return has_signalling_nan<uint32_t>(dense, 0x7F800000, 0x00400000);
    case DType::kF16:
      return has_signalling_nan<uint16_t>(dense, 0x7C00, 0x0200);
    default:
      return has_signalling_nan<uint16_t>(dense, 0x7F80, 0x0040);
  }
}

}  // namespace

std::optional<SparseMatrix> pack_smallest(const Tensor& dense, const Fold& fold,
                                          std::optional<BlockShape> hint) {
  ESPALIER_CHECK(can_be_packed(dense.dtype()) && dense.count() == fold.count());
  const Choice as_it_is{dense.bytes().size(), {0, 0}, false};
  Choice best = as_it_is;
  if (dense.count() == 0) return std::nullopt;
  try_blocks(dense, fold, false, hint, best);
  if (fold.rows == fold.cols && !has_signalling_nan(dense))
    try_blocks(dense, fold, true, hint, best);
  if (best.bytes >= as_it_is.bytes) return std::nullopt;
  return pack_blocks(dense, fold, nonzero_blocks(dense, fold, best.block, best.diagonal),
                     best.diagonal);
}

}  // namespace espalier
