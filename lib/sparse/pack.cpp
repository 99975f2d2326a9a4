#include "lib/sparse/pack.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "lib/base/checked_math.h"
#include "lib/base/error.h"
#include "lib/sparse/decode_lines.h"
#include "lib/sparse/element_bits.h"
#include "lib/sparse/pack_rules.h"
#include "lib/sparse/shared_mask.h"

namespace espalier {
namespace {

// One strip of the weight as it lies in memory: `lines` neighbouring memory lines of a part, each
// `length` elements, cut into pieces of `piece`. For a weight stored [outputs, inputs] a line is a
// row and a strip a block row; for a transposed one a line is a column and a strip a block column.
// Everything below walks memory strip after strip, whatever the fold.
struct Layout {
  size_t lines, length;  // of one part
  size_t depth, piece;   // block extents across and along the lines
  explicit Layout(const Fold& fold, BlockShape block)
      : lines(fold.transposed ? fold.cols : fold.rows),
        length(fold.transposed ? fold.rows : fold.cols),
        depth(fold.transposed ? block.cols : block.rows),
        piece(fold.transposed ? block.rows : block.cols) {}
  size_t strips() const { return ceil_div(lines, depth); }
  size_t pieces() const { return ceil_div(length, piece); }
};

void check_grid(const Fold& fold, BlockShape block) {
  constexpr uint64_t kLimit = uint64_t{1} << 32;
  const size_t rows = ceil_div(fold.rows, block.rows), cols = ceil_div(fold.cols, block.cols);
  const Checked<size_t> stacked = Checked<size_t>(fold.parts) * rows;
  const auto blocks = (stacked * cols).value();
  if (!blocks || *stacked.value() >= kLimit || cols >= kLimit) {
    throw Error(Fault::kUnsupported,
                fmt::format("{} matrices [{}, {}] in blocks {}: expected fewer than 2^32 block "
                            "rows and block columns",
                            fold.parts, fold.rows, fold.cols, to_string(block)));
  }
}

void check_count(size_t kept) {
  if (kept <= UINT32_MAX) return;
  throw Error(Fault::kUnsupported,
              fmt::format("{} blocks are kept, expected fewer than 2^32", kept));
}

// row_start and col from the mask, of which `kept` blocks are kept.
void fill_index(const BlockMask& mask, size_t kept, SparseMatrix& matrix) {
  const size_t rows = mask.parts * mask.grid_rows(), cols = mask.grid_cols();
  std::vector<uint32_t> row_start, col(kept + 1);  // one more: what is not kept is written over
  row_start.reserve(rows + 1);
  row_start.push_back(0);
  uint32_t* to = col.data();
  auto bit = mask.kept.begin();
  for (size_t row = 0; row < rows; ++row) {
    for (size_t c = 0; c < cols; ++c, ++bit) {
      *to = static_cast<uint32_t>(c);
      to += *bit ? 1 : 0;
    }
    row_start.push_back(static_cast<uint32_t>(to - col.data()));
  }
  col.pop_back();
  matrix.row_start = std::move(row_start);
  matrix.col = std::move(col);
}

enum class Direction { kPack, kUnpack };

// Moves one element between its place in the dense weight and its place in a block.
template <typename T, Direction direction>
void move_element(std::byte* dense, size_t at, std::byte* values, size_t place) {
  if constexpr (direction == Direction::kPack) {
    store_bits<T>(values, place, load_bits<T>(dense, at));
  } else {
    store_bits<T>(dense, at, load_bits<T>(values, place));
  }
}

// The same for `count` elements that lie side by side in both.
template <typename T, Direction direction>
void move_run(std::byte* dense, size_t at, std::byte* values, size_t place, size_t count) {
  if constexpr (direction == Direction::kPack) {
    std::memcpy(values + place * sizeof(T), dense + at * sizeof(T), count * sizeof(T));
  } else {
    std::memcpy(dense + at * sizeof(T), values + place * sizeof(T), count * sizeof(T));
  }
}

// What is moved on one thread: block rows of the stacked grid, of these some block columns, in a
// weight of which the elements before `base` are left out.
struct Window {
  size_t first_row, last_row;
  size_t first_col, last_col;
  size_t base = 0;
};

// Stored [outputs, inputs]: a block row is a strip. Its blocks are moved some at a time, row after
// row, so that what is written and what is read stays in the first-level cache. All block columns.
template <typename T, Direction direction>
void move_rows(const SparseMatrix& m, const Window& window, std::byte* dense, std::byte* values) {
  const uint32_t *const row_start = m.row_start.data(), *const col = m.col.data();
  const size_t area = m.block.area(), bc = m.block.cols;
  const size_t group = std::max<size_t>(1, 8192 / (area * sizeof(T)));
  for (size_t row = window.first_row; row < window.last_row; ++row) {
    const size_t first_row = row % m.grid_rows() * m.block.rows;
    const size_t rows = std::min<size_t>(m.block.rows, m.fold.rows - first_row);
    const size_t strip =
        m.fold.offset(row / m.grid_rows(), 0, 0) + first_row * m.fold.cols - window.base;
    for (size_t from = row_start[row]; from < row_start[row + 1]; from += group) {
      const size_t to = std::min<size_t>(from + group, row_start[row + 1]);
      for (size_t i = 0; i < rows; ++i) {
        const size_t line = strip + i * m.fold.cols;
        if (bc == 1) {  // the usual 16x1
          for (size_t b = from; b < to; ++b)
            move_element<T, direction>(dense, line + col[b], values, b * area + i);
          continue;
        }
        for (size_t b = from; b < to; ++b) {
          const size_t c = col[b] * bc, place = b * area + i * bc;
          const size_t cols = std::min(bc, m.fold.cols - c);
          for (size_t j = 0; j < cols; ++j)
            move_element<T, direction>(dense, line + c + j, values, place + j);
        }
      }
    }
  }
}

// The first block of each block row at or behind block column `col`.
std::vector<uint32_t> places_at(const SparseMatrix& m, size_t first, size_t last, size_t col) {
  const uint32_t *const row_start = m.row_start.data(), *const columns = m.col.data();
  std::vector<uint32_t> next(row_start + first, row_start + last);
  for (size_t row = first; col != 0 && row < last; ++row) {
    const uint32_t* const at =
        std::lower_bound(columns + row_start[row], columns + row_start[row + 1], col);
    next[row - first] = static_cast<uint32_t>(at - columns);
  }
  return next;
}

// Stored [inputs, outputs]: a strip is a block column. Each block row remembers how far it has
// come, so memory is walked from front to back; some block rows at a time, so that the places they
// are at stay in the second-level cache.
template <typename T, Direction direction>
void move_columns(const SparseMatrix& m, const Window& window, std::byte* dense,
                  std::byte* values) {
  constexpr size_t kGroup = 256;
  const uint32_t *const row_start = m.row_start.data(), *const columns = m.col.data();
  const size_t area = m.block.area(), bc = m.block.cols, grid_rows = m.grid_rows();
  for (size_t first = window.first_row; first < window.last_row;) {
    const size_t part = first / grid_rows;
    const size_t last = std::min({first + kGroup, (part + 1) * grid_rows, window.last_row});
    std::vector<uint32_t> next = places_at(m, first, last, window.first_col);
    for (size_t col = window.first_col; col < window.last_col; ++col) {
      const size_t cols = std::min(bc, m.fold.cols - col * bc);
      const size_t strip = m.fold.offset(part, 0, col * bc) - window.base;
      for (size_t row = first; row < last; ++row) {
        const size_t b = next[row - first];
        if (b == row_start[row + 1] || columns[b] != col) continue;
        ++next[row - first];
        const size_t first_row = (row - part * grid_rows) * m.block.rows;
        const size_t rows = std::min<size_t>(m.block.rows, m.fold.rows - first_row);
        if (bc == 1) {
          move_run<T, direction>(dense, strip + first_row, values, b * area, rows);
          continue;
        }
        for (size_t j = 0; j < cols; ++j) {
          const size_t line = strip + j * m.fold.rows + first_row;
          for (size_t i = 0; i < rows; ++i)
            move_element<T, direction>(dense, line + i, values, b * area + i * bc + j);
        }
      }
    }
    first = last;
  }
}

template <Direction direction>
void move_window(const SparseMatrix& m, const Window& window, std::byte* dense, std::byte* values) {
  with_bits_of(m.dtype, [&]<typename T>(T) {
    if (m.fold.transposed) {
      move_columns<T, direction>(m, window, dense, values);
    } else {
      move_rows<T, direction>(m, window, dense, values);
    }
  });
}

template <Direction direction>
void move_blocks(const SparseMatrix& m, std::byte* dense, std::byte* values, ThreadPool* pool) {
  const size_t rows = m.row_start.size() - 1;
  const auto move = [&](size_t first, size_t last) {
    move_window<direction>(m, {first, last, 0, m.grid_cols()}, dense, values);
  };
  if (pool == nullptr) return move(0, rows);
  const size_t tasks = std::min(rows, 4 * pool->threads());
  pool->for_each(tasks, [&](size_t i) { move(rows * i / tasks, rows * (i + 1) / tasks); });
}

// Copies the diagonals out of the dense weight and clears them in the blocks.
void take_diagonal(const Tensor& dense, SparseMatrix& m) {
  const size_t n = m.fold.rows;
  Tensor diagonal = Tensor::zeros(m.dtype, {static_cast<int64_t>(m.fold.parts * n)});
  with_bits_of(m.dtype, [&]<typename T>(T) {
    for (size_t i = 0; i < diagonal.count(); ++i) {
      const size_t part = i / n, r = i % n;
      store_bits(diagonal.mutable_bytes().data(), i,
                 load_bits<T>(dense.bytes().data(), m.fold.offset(part, r, r)));
      const auto place = place_of_diagonal(m, part, r);
      if (place) store_bits(m.values.mutable_bytes().data(), *place, T{0});
    }
  });
  m.diagonal = std::move(diagonal);
}

// Collects in bits[i] the bits of element i of all `lines` lines.
template <typename T>
void or_lines(const std::byte* first, size_t lines, size_t length, std::vector<T>& bits) {
  std::ranges::fill(bits, T{0});
  for (size_t line = 0; line < lines; ++line, first += length * sizeof(T)) {
    for (size_t i = 0; i < length; ++i) bits[i] |= load_bits<T>(first, i);
  }
}

// The diagonal elements that or_lines took in, taken out again: the bits of line + first of each
// line are made anew without it.
template <typename T>
void without_diagonal(const std::byte* first, size_t line0, size_t lines, size_t length,
                      std::vector<T>& bits) {
  for (size_t d = line0; d < line0 + lines; ++d) {
    bits[d] = 0;
    for (size_t line = 0; line < lines; ++line) {
      if (line0 + line != d) bits[d] |= load_bits<T>(first, line * length + d);
    }
  }
}

template <typename T>
void mark_nonzero(const Tensor& dense, const Fold& fold, bool diagonal, BlockMask& mask) {
  const Layout layout(fold, mask.block);
  std::vector<T> bits(layout.length);
  for (size_t part = 0; part < fold.parts; ++part) {
    for (size_t strip = 0; strip < layout.strips(); ++strip) {
      const size_t line0 = strip * layout.depth;
      const size_t lines = std::min(layout.depth, layout.lines - line0);
      const std::byte* first =
          dense.bytes().data() + (part * layout.lines + line0) * layout.length * sizeof(T);
      or_lines(first, lines, layout.length, bits);
      if (diagonal) without_diagonal(first, line0, lines, layout.length, bits);
      for (size_t piece = 0, i = 0; piece < layout.pieces(); ++piece) {
        T any = 0;
        for (const size_t end = std::min(i + layout.piece, layout.length); i < end; ++i)
          any |= bits[i];
        if (is_zero(any)) continue;
        mask.kept[fold.transposed ? mask.index(part, piece, strip)
                                  : mask.index(part, strip, piece)] = true;
      }
    }
  }
}

// All but the index and the elements.
SparseMatrix frame_of(const Tensor& dense, const Fold& fold, const BlockMask& mask, bool diagonal) {
  ESPALIER_CHECK(can_be_packed(dense.dtype()) && dense.count() == fold.count());
  ESPALIER_CHECK(mask.parts == fold.parts && mask.rows == fold.rows && mask.cols == fold.cols);
  ESPALIER_CHECK(!diagonal || fold.rows == fold.cols);
  check_grid(fold, mask.block);
  SparseMatrix matrix;
  matrix.shape = dense.shape();
  matrix.fold = fold;
  matrix.block = mask.block;
  matrix.dtype = dense.dtype();
  return matrix;
}

// The elements of the blocks that the index has.
void fill_values(const Tensor& dense, bool diagonal, SparseMatrix& matrix, ThreadPool* pool) {
  Tensor values = Tensor::zeros(
      matrix.dtype, {static_cast<int64_t>(matrix.blocks()), matrix.block.rows, matrix.block.cols});
  const Tensor from = dense.held();
  // kPack only reads from the dense side.
  move_blocks<Direction::kPack>(matrix, const_cast<std::byte*>(from.bytes().data()),
                                values.mutable_bytes().data(), pool);
  matrix.values = std::move(values);
  if (diagonal) take_diagonal(from, matrix);
}

}  // namespace

SparseMatrix pack_blocks(const Tensor& dense, const Fold& fold, const BlockMask& mask,
                         bool diagonal, ThreadPool* pool) {
  SparseMatrix matrix = frame_of(dense, fold, mask, diagonal);
  const size_t kept = mask.kept_blocks();
  check_count(kept);
  fill_index(mask, kept, matrix);
  fill_values(dense, diagonal, matrix, pool);
  return matrix;
}

SparseMatrix pack_blocks_deferred(const Tensor& dense, const Fold& fold, const BlockMask& mask,
                                  bool diagonal, size_t threads) {
  const size_t blocks = mask.kept_blocks();
  check_count(blocks);
  const SparseMatrix frame = frame_of(dense, fold, mask, diagonal);
  SparseMatrix sizes = frame;
  sizes.row_start = Indices::deferred(mask.parts * mask.grid_rows() + 1, {});
  sizes.col = Indices::deferred(blocks, {});
  // The index follows from the mask alone.
  const auto kept = shared_mask(mask);
  SparseMatrix result = deferred(sizes, [frame, kept, blocks] {
    SparseMatrix index = frame;
    fill_index(*kept, blocks, index);
    return index;
  });
  const auto of_shape = [&](Shape shape) {
    return Tensor::deferred(dense.dtype(), std::move(shape), [] { return Tensor(); });
  };
  sizes.values = of_shape({static_cast<int64_t>(blocks), mask.block.rows, mask.block.cols});
  if (diagonal) sizes.diagonal = of_shape({static_cast<int64_t>(fold.parts * fold.rows)});
  const SparseMatrix elements = deferred(sizes, [index = result, dense, diagonal, threads] {
    ThreadPool pool(threads);
    SparseMatrix matrix = index;
    fill_values(dense, diagonal, matrix, &pool);
    matrix.row_start = Indices();  // the values are what was asked for
    matrix.col = Indices();
    dense.give_back();
    return matrix;
  });
  result.values = elements.values;
  result.diagonal = elements.diagonal;
  return result;
}

Tensor decode(const SparseMatrix& matrix, ThreadPool* pool) {
  if (matrix.values.dtype() != matrix.dtype) return decode(with_values(matrix, matrix.dtype), pool);
  Tensor dense = Tensor::zeros(matrix.dtype, matrix.shape);
  move_blocks<Direction::kUnpack>(matrix, dense.mutable_bytes().data(),
                                  const_cast<std::byte*>(matrix.values.bytes().data()), pool);
  with_bits_of(matrix.dtype, [&]<typename T>(T) {
    for (size_t i = 0; i < matrix.diagonal.count(); ++i) {
      const size_t part = i / matrix.fold.rows, r = i % matrix.fold.rows;
      store_bits(dense.mutable_bytes().data(), matrix.fold.offset(part, r, r),
                 load_bits<T>(matrix.diagonal.bytes().data(), i));
    }
  });
  return dense;
}

size_t lines_of_part(const Fold& fold) { return fold.transposed ? fold.cols : fold.rows; }
size_t lines_together(const SparseMatrix& m) {
  return m.fold.transposed ? m.block.cols : m.block.rows;
}

void decode_lines(const SparseMatrix& m, size_t part, size_t first, size_t last, std::byte* to) {
  const Layout layout(m.fold, m.block);
  ESPALIER_CHECK(m.values.dtype() == m.dtype && first % layout.depth == 0);
  ESPALIER_CHECK(part < m.fold.parts && first < last && last <= layout.lines);
  ESPALIER_CHECK(last % layout.depth == 0 || last == layout.lines);
  const size_t base = (part * layout.lines + first) * layout.length;
  std::memset(to, 0, (last - first) * layout.length * bytes_of(m.dtype));
  const size_t row0 = part * m.grid_rows(), strip0 = first / layout.depth,
               strip1 = ceil_div(last, layout.depth);
  const Window window = m.fold.transposed
                            ? Window{row0, row0 + m.grid_rows(), strip0, strip1, base}
                            : Window{row0 + strip0, row0 + strip1, 0, m.grid_cols(), base};
  // kUnpack only reads from the values.
  move_window<Direction::kUnpack>(m, window, to, const_cast<std::byte*>(m.values.bytes().data()));
  if (!m.has_diagonal()) return;
  with_bits_of(m.dtype, [&]<typename T>(T) {
    const std::byte* const diagonal = m.diagonal.bytes().data();
    for (size_t r = first; r < last; ++r)
      store_bits(to, (r - first) * layout.length + r,
                 load_bits<T>(diagonal, part * m.fold.rows + r));
  });
}

BlockMask nonzero_blocks(const Tensor& dense, const Fold& fold, BlockShape block, bool diagonal) {
  ESPALIER_CHECK(can_be_packed(dense.dtype()) && dense.count() == fold.count());
  ESPALIER_CHECK(!diagonal || fold.rows == fold.cols);
  check_grid(fold, block);
  BlockMask mask(block, fold, false);
  with_bits_of(dense.dtype(), [&]<typename T>(T) { mark_nonzero<T>(dense, fold, diagonal, mask); });
  return mask;
}

}  // namespace espalier
