// The decode of profile portable: one-hot matrices say where each block stands, a matrix product
// puts it there. Strips of the weight, so that what is made on the way stays small.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "formats/nnef/write/packed.h"
#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

constexpr size_t kMaxItems = kPortableBytes / sizeof(float);

// Block rows [top, bottom) of all parts stacked, block columns [left, right).
struct Strip {
  size_t top, bottom, left, right;

  size_t rows() const { return bottom - top; }
  size_t cols() const { return right - left; }
};

// Calls visit(block, block row, block column) for the blocks of a strip, in order.
template <typename Visit>
void for_each_block(const SparseMatrix& matrix, const Strip& strip, const Visit& visit) {
  for (size_t row = strip.top; row < strip.bottom; ++row) {
    for (size_t b = matrix.row_start[row]; b < matrix.row_start[row + 1]; ++b) {
      const size_t col = matrix.col[b];
      if (col >= strip.left && col < strip.right) visit(b, row - strip.top, col - strip.left);
    }
  }
}

size_t blocks_of(const SparseMatrix& matrix, const Strip& strip) {
  size_t count = 0;
  for_each_block(matrix, strip, [&](size_t, size_t, size_t) { ++count; });
  return count;
}

// What the fragment makes on the way: `placed` [R * br * bc, N], `in_col` [N, C] and `tiles`
// [R * br * bc, C]; `in_row` [R, N] is smaller than `placed`.
bool fits(const Strip& strip, size_t blocks, size_t area) {
  const size_t wide = strip.rows() * area;
  return wide * blocks <= kMaxItems && blocks * strip.cols() <= kMaxItems &&
         wide * strip.cols() <= kMaxItems;
}

// Block columns of a strip. Strips are largest where `placed` and `in_col` are of one size: with C
// = R * area, R * area * N = N * C, and N = density * R * C, C^3 = limit * area / density. A block
// row that is full of blocks must fit too.
size_t strip_cols(const SparseMatrix& matrix) {
  const size_t cols = matrix.grid_cols(), area = matrix.block.area();
  const double places = static_cast<double>(matrix.fold.parts * matrix.grid_rows() * cols);
  const double density = std::max(1.0, static_cast<double>(matrix.blocks())) / places;
  const double best = std::cbrt(static_cast<double>(kMaxItems * area) / density);
  const auto row = static_cast<size_t>(std::sqrt(static_cast<double>(kMaxItems)));
  const size_t most = std::max<size_t>(1, std::min(row, kMaxItems / area));
  const size_t wanted = std::clamp<size_t>(static_cast<size_t>(best), 1, most);
  return ceil_div(cols, ceil_div(cols, wanted));
}

// Strips beside each other, from `top` on, with as many block rows as fit, up to `end`.
std::vector<Strip> strips_at(const SparseMatrix& matrix, size_t top, size_t end) {
  const size_t cols = matrix.grid_cols();
  std::vector<Strip> result;
  const Strip whole{top, end, 0, cols};
  const size_t area = matrix.block.area();
  if (fits(whole, 0, area) && fits(whole, blocks_of(matrix, whole), area)) return {whole};
  const size_t width = strip_cols(matrix);
  for (size_t left = 0; left < cols; left += width) {
    result.push_back({top, top + 1, left, std::min(cols, left + width)});
  }
  std::vector<size_t> blocks;
  for (const Strip& strip : result) blocks.push_back(blocks_of(matrix, strip));
  while (result[0].bottom < end) {
    bool all_fit = true;
    for (size_t i = 0; i < result.size(); ++i) {
      Strip& strip = result[i];
      blocks[i] += blocks_of(matrix, {strip.bottom, strip.bottom + 1, strip.left, strip.right});
      ++strip.bottom;
      all_fit = all_fit && fits(strip, blocks[i], area);
    }
    if (all_fit) continue;
    for (Strip& strip : result) --strip.bottom;
    break;
  }
  return result;
}

// Rows of strips from top to bottom. A part whose edge is ragged ends its strips.
std::vector<std::vector<Strip>> strips_of(const SparseMatrix& matrix) {
  const size_t rows = matrix.fold.parts * matrix.grid_rows();
  const bool whole_parts = matrix.fold.rows % matrix.block.rows == 0;
  std::vector<std::vector<Strip>> result;
  for (size_t top = 0; top < rows; top = result.back()[0].bottom) {
    const size_t end = whole_parts ? rows : (top / matrix.grid_rows() + 1) * matrix.grid_rows();
    result.push_back(strips_at(matrix, top, end));
  }
  return result;
}

Tensor strip_values(const SparseMatrix& matrix, const Strip& strip, size_t blocks) {
  const DType dtype = matrix.values.dtype();
  Tensor result =
      Tensor::zeros(dtype, {static_cast<int64_t>(blocks), matrix.block.rows, matrix.block.cols});
  const size_t bytes = matrix.block.area() * bytes_of(dtype);
  std::byte* to = result.mutable_bytes().data();
  for_each_block(matrix, strip, [&](size_t b, size_t, size_t) {
    std::memcpy(to, matrix.values.bytes().data() + b * bytes, bytes);
    to += bytes;
  });
  return result;
}

Tensor strip_index(const SparseMatrix& matrix, const Strip& strip, size_t blocks) {
  std::vector<float> pairs;
  for_each_block(matrix, strip, [&](size_t, size_t row, size_t col) {
    pairs.push_back(static_cast<float>(row));
    pairs.push_back(static_cast<float>(col));
  });
  if (pairs.empty()) pairs = {static_cast<float>(strip.rows()), static_cast<float>(strip.cols())};
  return Tensor::of<float>({static_cast<int64_t>(blocks), 2}, std::span<const float>(pairs));
}

// 0, 1, 2, ... as a row or column that all strips of that size share.
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

// Elements of a strip that lie inside of the weight.
Shape inside(const SparseMatrix& matrix, const Strip& strip) {
  const size_t part_rows = matrix.grid_rows();
  size_t rows = strip.rows() * matrix.block.rows;
  if (strip.bottom % part_rows == 0) rows -= part_rows * matrix.block.rows - matrix.fold.rows;
  const size_t cols =
      std::min(strip.right * matrix.block.cols, matrix.fold.cols) - strip.left * matrix.block.cols;
  return {static_cast<int64_t>(rows), static_cast<int64_t>(cols)};
}

// One strip as a matrix, or as `shape` where that is the whole weight.
Wire write_strip(const WeightWriter& w, const std::string& label, const SparseMatrix& matrix,
                 const Strip& strip, const Shape& shape) {
  const size_t blocks = std::max<size_t>(1, blocks_of(matrix, strip));
  const auto [br, bc] = matrix.block;
  const Wire values =
      w.part("values", label, matrix.values.dtype(), {static_cast<int64_t>(blocks), br, bc},
             [&matrix, strip, blocks] { return strip_values(matrix, strip, blocks); });
  const Wire index =
      w.part("index", label, DType::kF32, {static_cast<int64_t>(blocks), 2},
             [&matrix, strip, blocks] { return strip_index(matrix, strip, blocks); });
  const auto rows = static_cast<int64_t>(strip.rows()), cols = static_cast<int64_t>(strip.cols());
  const std::string row_ids = count_up(w, "row_ids", {rows, 1}).id;
  const std::string col_ids = count_up(w, "col_ids", {1, cols}).id;
  const Shape padded{rows * br, cols * bc};
  const bool ragged = inside(matrix, strip) != padded;
  const Decode kind = ragged ? Decode::portable_ragged : Decode::portable;
  w.use(kind);
  return w.step(
      "decoded",
      fmt::format("{}({}, {}, {}, {}, flat = [{}, {}], cells = [{}, {}, {}, {}]{}, shape = {})",
                  decode_fragment(kind).name, values.id, index.id, row_ids, col_ids,
                  strip.rows() * matrix.block.area(), blocks, rows, br, bc, cols,
                  ragged ? fmt::format(", padded = {}", list(padded)) : "", list(shape)),
      shape);
}

// Strips in a row; one alone is itself. Their extents add up along `axis`.
Wire join(const WeightWriter& w, std::string_view suffix, const std::vector<Wire>& strips,
          size_t axis) {
  if (strips.size() == 1) return strips[0];
  std::vector<std::string> ids;
  Shape shape;
  for (const Wire& strip : strips) {
    ids.push_back(strip.id);
    for (size_t i = 0; i < 2; ++i) {
      const int64_t extent = *(*strip.extents)[i].constant();
      if (shape.size() < 2) {
        shape.push_back(extent);
      } else if (i == axis) {
        shape[i] += extent;
      }
    }
  }
  return w.step(suffix, fmt::format("concat([{}], axis = {})", fmt::join(ids, ", "), axis), shape);
}

}  // namespace

// One variable per strip that the standard's operators can decode; strips are joined to rows, rows
// to the weight.
Wire write_portable(const WeightWriter& w, const std::string& label, const SparseMatrix& matrix,
                    const Shape& shape) {
  if (matrix.values.dtype() == DType::kI8) {
    throw Error(Fault::kUnsupported,
                "profile portable stores no packed values of type i8 (NNEF's standard has no "
                "cast), expected f32 or f16");
  }
  const auto is_finite = [](float value) { return std::isfinite(value); };
  if (!std::ranges::all_of(to_f32(matrix.values), is_finite)) {
    throw Error(Fault::kUnsupported,
                "profile portable multiplies values by 0 and 1, but one of them is not finite");
  }
  const std::vector<std::vector<Strip>> strips = strips_of(matrix);
  if (strips.size() == 1 && strips[0].size() == 1) {
    const Strip& whole = strips[0][0];
    const bool flat = shape == inside(matrix, whole);
    const bool ragged = is_ragged(matrix);
    const Wire wire =
        write_strip(w, label, matrix, whole, ragged && !flat ? inside(matrix, whole) : shape);
    if (!ragged || flat) return wire;
    return w.step("shaped", fmt::format("reshape({}, shape = {})", wire.id, list(shape)), shape);
  }
  std::vector<Wire> rows;
  for (size_t r = 0; r < strips.size(); ++r) {
    const std::string row = strips.size() == 1 ? label : fmt::format("{}/{}", label, r);
    std::vector<Wire> wires;
    for (size_t c = 0; c < strips[r].size(); ++c) {
      const std::string one = strips[r].size() == 1 ? row : fmt::format("{}/{}", row, c);
      wires.push_back(write_strip(w, w.state.names.packed_label(one), matrix, strips[r][c],
                                  inside(matrix, strips[r][c])));
    }
    rows.push_back(join(w, "row", wires, 1));
  }
  const Wire whole = join(w, "joined", rows, 0);
  const Shape matrix_shape{static_cast<int64_t>(matrix.fold.parts * matrix.fold.rows),
                           static_cast<int64_t>(matrix.fold.cols)};
  if (matrix_shape == shape) return whole;
  return w.step("shaped", fmt::format("reshape({}, shape = {})", whole.id, list(shape)), shape);
}

}  // namespace espalier::nnef
