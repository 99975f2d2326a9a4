#include "formats/nnef/read/sparse_variable.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "lib/base/checked_math.h"
#include "lib/base/error.h"
#include "lib/sparse/pack.h"

namespace espalier::nnef {
namespace {

// A short file can ask for any grid: what these bound is memory.
constexpr size_t kMaxElements = size_t{1} << 30;
constexpr size_t kMaxBlockRows = size_t{1} << 24;
constexpr size_t kMaxCopied = size_t{1} << 26;  // elements made of fewer

const Constant& constant(const Call& call, std::string_view name) {
  const EvalValue& value = call.argument(name);
  if (value.kind != EvalValue::Kind::tensor) call.fail(fmt::format("{} is not a variable", name));
  const ConstantPtr& found = value.tensor.constant;
  if (found == nullptr || found->dense() == nullptr) throw NotTranslated{};
  return *found;
}

std::vector<int64_t> integers(const Call& call, std::string_view name, size_t count) {
  std::vector<int64_t> result = call.integers(name);
  if (result.size() != count) {
    call.fail(fmt::format("{} has {} values, expected {}", name, result.size(), count));
  }
  for (const int64_t value : result) {
    if (value < 0) call.fail(fmt::format("{} holds {}", name, value));
  }
  return result;
}

void expect(const Call& call, std::string_view name, const Shape& have, const Shape& want) {
  if (have != want) {
    call.fail(fmt::format("{} is {}, expected {}", name, to_string(have), to_string(want)));
  }
}

// Blocks [N, br, bc] as f32, f16 or i8; other integers become f32.
Tensor block_values(const Call& call) {
  const Constant& given = constant(call, "values");
  const ConstantPtr narrow = given.narrow.lock();
  const Tensor& values = narrow != nullptr ? *narrow->dense() : *given.dense();
  if (values.shape().size() != 3) {
    call.fail(fmt::format("values are {}, expected [N, rows, columns]", to_string(values.shape())));
  }
  switch (values.dtype()) {
    case DType::kF32:
    case DType::kF16:
    case DType::kI8:
      return values;
    case DType::kU8:
    case DType::kI16:
    case DType::kU16:
      return as_f32(values);
    default:
      throw Error(Fault::kUnsupported, fmt::format("packed values of type {} are not supported",
                                                   name_of(values.dtype())));
  }
}

// Integers, also where they are stored as scalars.
std::vector<int64_t> places(const Call& call, const Constant& constant) {
  const Tensor& tensor = *constant.dense();
  if (!is_float(tensor.dtype())) return to_i64(tensor);
  std::vector<int64_t> result;
  for (const float value : to_f32(tensor)) {
    if (!(value >= 0) || value > 1e9F || value != std::floor(value)) {
      call.fail(fmt::format("index is {}, expected an integer from 0 to 1e9", value));
    }
    result.push_back(static_cast<int64_t>(value));
  }
  return result;
}

// NAME where the parts are labelled NAME/values and NAME/index (or NAME/map).
std::string weight_name(const Call& call, std::string_view other) {
  const Constant& values = constant(call, "values");
  constexpr std::string_view kEnding = "/values";
  if (!values.has_label || !values.name.ends_with(kEnding)) return "";
  const std::string name = values.name.substr(0, values.name.size() - kEnding.size());
  return constant(call, other).name == fmt::format("{}/{}", name, other) ? name : "";
}

Tensor ones(size_t count) {
  const std::vector<float> values(count, 1.0F);
  return Tensor::of<float>({static_cast<int64_t>(count)}, std::span<const float>(values));
}

EvalValue weight(std::string name, SparseMatrix matrix) {
  validate(matrix);
  const bool has_label = !name.empty();
  const ConstantPtr constant = make_constant(std::move(name), std::move(matrix));
  constant->has_label = has_label;
  return EvalValue::of_tensor({kNoValue, constant});
}

// The grid of blocks that a decode fills, all parts stacked.
struct Grid {
  size_t rows = 0, cols = 0;  // blocks
  Fold fold;
  BlockShape block;
  Shape shape;
};

void check_grid(const Call& call, const Grid& grid) {
  const auto elements =
      (Checked<size_t>(grid.fold.parts) * grid.fold.rows * grid.fold.cols).value();
  if (!elements || *elements > kMaxElements || grid.rows > kMaxBlockRows) {
    throw Error(Fault::kUnsupported,
                fmt::format("a packed weight of more than {} elements or {} block rows",
                            kMaxElements, kMaxBlockRows));
  }
  for (const int64_t extent : grid.shape) {
    if (extent < 0) call.fail(fmt::format("shape {}", to_string(grid.shape)));
  }
  if (element_count(grid.shape) != *elements) {
    call.fail(fmt::format("shape {} is not that of {} x {} x {} elements", to_string(grid.shape),
                          grid.fold.parts, grid.fold.rows, grid.fold.cols));
  }
}

BlockShape block_shape(const Call& call, int64_t rows, int64_t cols) {
  constexpr int64_t kLargest = 1 << 20;
  if (rows < 1 || cols < 1 || rows > kLargest || cols > kLargest) {
    call.fail(fmt::format("blocks of {}x{}", rows, cols));
  }
  return {static_cast<uint32_t>(rows), static_cast<uint32_t>(cols)};
}

// Blocks in the order of their places; `order` says which block of `values` comes where.
Tensor reordered(const Tensor& values, const std::vector<size_t>& order) {
  Shape shape = values.shape();
  const size_t bytes =
      static_cast<size_t>(shape[1]) * static_cast<size_t>(shape[2]) * bytes_of(values.dtype());
  shape[0] = static_cast<int64_t>(order.size());
  Tensor result = Tensor::zeros(values.dtype(), shape);
  for (size_t i = 0; i < order.size(); ++i) {
    std::memcpy(result.mutable_bytes().data() + i * bytes, values.bytes().data() + order[i] * bytes,
                bytes);
  }
  return result;
}

// Elements of edge blocks that lie outside of the weight are cut off by the decode: zeros here.
void clear_outside(SparseMatrix& matrix) {
  const size_t edge_rows = matrix.fold.rows % matrix.block.rows;
  const size_t edge_cols = matrix.fold.cols % matrix.block.cols;
  if (edge_rows == 0 && edge_cols == 0) return;
  matrix.values = matrix.values.copy();
  const size_t width = bytes_of(matrix.values.dtype());
  std::byte* bytes = matrix.values.mutable_bytes().data();
  for (size_t row = 0; row + 1 < matrix.row_start.size(); ++row) {
    const bool last_row = edge_rows != 0 && (row + 1) % matrix.grid_rows() == 0;
    for (size_t b = matrix.row_start[row]; b < matrix.row_start[row + 1]; ++b) {
      const bool last_col = edge_cols != 0 && matrix.col[b] + 1 == matrix.grid_cols();
      for (size_t r = 0; r < matrix.block.rows; ++r) {
        for (size_t c = 0; c < matrix.block.cols; ++c) {
          if ((last_row && r >= edge_rows) || (last_col && c >= edge_cols)) {
            std::memset(bytes + (b * matrix.block.area() + r * matrix.block.cols + c) * width, 0,
                        width);
          }
        }
      }
    }
  }
}

// `pairs` are (block row, block column) of each block, in any order.
SparseMatrix on_grid(const Call& call, const Grid& grid, const Tensor& values,
                     const std::vector<int64_t>& pairs) {
  check_grid(call, grid);
  const size_t count = pairs.size() / 2;
  expect(call, "values", values.shape(),
         {static_cast<int64_t>(count), grid.block.rows, grid.block.cols});
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  const auto before = [&](size_t a, size_t b) {
    return std::pair(pairs[2 * a], pairs[2 * a + 1]) < std::pair(pairs[2 * b], pairs[2 * b + 1]);
  };
  const bool sorted = std::ranges::is_sorted(order, before);
  if (!sorted) std::ranges::sort(order, before);

  SparseMatrix matrix;
  matrix.shape = grid.shape;
  matrix.fold = grid.fold;
  matrix.block = grid.block;
  matrix.row_start.assign(grid.rows + 1, 0);
  matrix.col.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    const int64_t row = pairs[2 * order[i]], col = pairs[2 * order[i] + 1];
    if (row < 0 || col < 0 || static_cast<size_t>(row) >= grid.rows ||
        static_cast<size_t>(col) >= grid.cols) {
      call.fail(fmt::format("index {} is ({}, {}), the grid has {} x {} blocks", order[i], row, col,
                            grid.rows, grid.cols));
    }
    if (i > 0 && row == pairs[2 * order[i - 1]] && col == pairs[2 * order[i - 1] + 1]) {
      call.fail(fmt::format("index {} is ({}, {}), a duplicate", order[i], row, col));
    }
    ++matrix.row_start[static_cast<size_t>(row) + 1];
    matrix.col.push_back(static_cast<uint32_t>(col));
  }
  std::partial_sum(matrix.row_start.begin(), matrix.row_start.end(), matrix.row_start.begin());
  matrix.values = sorted ? values : reordered(values, order);
  matrix.dtype = DType::kF32;
  if (values.dtype() == DType::kI8) matrix.scale = ones(grid.fold.parts * grid.fold.rows);
  clear_outside(matrix);
  return matrix;
}

std::vector<int64_t> index_pairs(const Call& call, const Tensor& values) {
  const Constant& index = constant(call, "index");
  expect(call, "index", index.shape, {values.shape()[0], 2});
  return places(call, index);
}

size_t product(int64_t a, int64_t b) {
  return checked_mul(static_cast<size_t>(a), static_cast<size_t>(b)).value_or(SIZE_MAX);
}

// Whether `kept` of `padded` elements end inside the last block.
bool is_edge(int64_t kept, int64_t padded, int64_t block) {
  return kept <= padded && kept > padded - block;
}

// shape = [rows, columns] cut out of padded: the grid's, with an edge.
void cut_edge(const Call& call, Grid& grid, int64_t rows, int64_t cols) {
  expect(call, "padded", call.integers("padded"), {rows, cols});
  if (grid.shape.size() != 2 || !is_edge(grid.shape[0], rows, grid.block.rows) ||
      !is_edge(grid.shape[1], cols, grid.block.cols)) {
    call.fail(fmt::format("shape {} of {} x {} with blocks {}", to_string(grid.shape), rows, cols,
                          to_string(grid.block)));
  }
  grid.fold.rows = static_cast<size_t>(grid.shape[0]);
  grid.fold.cols = static_cast<size_t>(grid.shape[1]);
}

EvalValue decode_grid(Decode kind, const Call& call) {
  const Tensor values = block_values(call);
  const std::vector<int64_t> given = integers(call, "grid", 4);
  Grid grid;
  grid.rows = static_cast<size_t>(given[0]);
  grid.cols = static_cast<size_t>(given[1]);
  grid.block = block_shape(call, given[2], given[3]);
  grid.shape = call.integers("shape");
  const auto rows = static_cast<int64_t>(product(given[0], given[2]));
  const auto cols = static_cast<int64_t>(product(given[1], given[3]));
  if (rows < 0 || cols < 0) call.fail("grid is too large");
  grid.fold = {1, static_cast<size_t>(rows), static_cast<size_t>(cols), false};
  if (kind == Decode::ragged) cut_edge(call, grid, rows, cols);
  if (kind == Decode::parts) {
    const std::vector<int64_t> padded = integers(call, "padded", 3);
    const std::vector<int64_t> keep = integers(call, "keep", 2);
    const bool fits = padded[0] > 0 && padded[2] == cols && given[0] % padded[0] == 0 &&
                      rows / padded[0] == padded[1] && is_edge(keep[0], padded[1], given[2]) &&
                      is_edge(keep[1], cols, given[3]);
    if (!fits) call.fail("padded and keep do not fit grid");
    grid.fold = {static_cast<size_t>(padded[0]), static_cast<size_t>(keep[0]),
                 static_cast<size_t>(keep[1]), false};
  }
  return weight(weight_name(call, "index"), on_grid(call, grid, values, index_pairs(call, values)));
}

void expect_count_up(const Call& call, std::string_view name, const Shape& shape) {
  const Constant& ids = constant(call, name);
  expect(call, name, ids.shape, shape);
  const std::vector<int64_t> values = places(call, ids);
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] != static_cast<int64_t>(i)) throw NotTranslated{};
  }
}

EvalValue decode_portable(Decode kind, const Call& call) {
  Tensor values = block_values(call);
  const std::vector<int64_t> cells = integers(call, "cells", 4);  // R, br, bc, C
  Grid grid;
  grid.rows = static_cast<size_t>(cells[0]);
  grid.cols = static_cast<size_t>(cells[3]);
  grid.block = block_shape(call, cells[1], cells[2]);
  grid.fold = {1, product(cells[0], cells[1]), product(cells[3], cells[2]), false};
  grid.shape = call.integers("shape");
  const auto rows = static_cast<int64_t>(grid.fold.rows);
  const auto cols = static_cast<int64_t>(grid.fold.cols);
  if (rows < 0 || cols < 0) call.fail("cells are too large");
  if (kind == Decode::portable_ragged) cut_edge(call, grid, rows, cols);
  check_grid(call, grid);
  expect_count_up(call, "row_ids", {cells[0], 1});
  expect_count_up(call, "col_ids", {1, cells[3]});
  expect(call, "flat", call.integers("flat"), {rows * cells[2], values.shape()[0]});
  std::vector<int64_t> pairs = index_pairs(call, values);
  // The place behind the last one is none: what a strip without blocks holds.
  if (pairs == std::vector<int64_t>{cells[0], cells[3]}) {
    pairs.clear();
    values = Tensor::zeros(values.dtype(), {0, cells[1], cells[2]});
  }
  return weight(weight_name(call, "index"), on_grid(call, grid, values, pairs));
}

bool is_zero_bits(Bytes bytes) {
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

EvalValue decode_gather(const Call& call) {
  const Tensor values = block_values(call);
  const Constant& map = constant(call, "map");
  if (map.shape.size() != 2) call.fail(fmt::format("map is {}", to_string(map.shape)));
  const Shape& extents = values.shape();
  Grid grid;
  grid.rows = static_cast<size_t>(map.shape[0]);
  grid.cols = static_cast<size_t>(map.shape[1]);
  grid.block = block_shape(call, extents[1], extents[2]);
  grid.fold = {1, product(map.shape[0], extents[1]), product(map.shape[1], extents[2]), false};
  grid.shape = call.integers("shape");
  check_grid(call, grid);
  const size_t bytes = grid.block.area() * bytes_of(values.dtype());
  const size_t most = std::max(values.count(), kMaxCopied) / grid.block.area();
  std::vector<size_t> order;
  std::vector<int64_t> pairs;
  const std::vector<int64_t> blocks = places(call, map);
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (blocks[i] < 0 || blocks[i] >= extents[0]) {
      call.fail(fmt::format("map names block {} of {}", blocks[i], extents[0]));
    }
    const auto block = static_cast<size_t>(blocks[i]);
    if (is_zero_bits(values.bytes().subspan(block * bytes, bytes))) continue;
    order.push_back(block);
    if (order.size() > most) {
      throw Error(Fault::kUnsupported, "the packed weight repeats its blocks too often");
    }
    pairs.push_back(static_cast<int64_t>(i / grid.cols));
    pairs.push_back(static_cast<int64_t>(i % grid.cols));
  }
  return weight(weight_name(call, "map"), on_grid(call, grid, reordered(values, order), pairs));
}

// Elements of one row of the weight. The second row of offsets tells. Blocks of one row leave it to
// the weight's shape: what follows the first extent that is not 1 (that counts outputs), or more
// where blocks do not fit into that.
int64_t row_length(const std::vector<int64_t>& offsets, BlockShape block, const Shape& shape,
                   const std::vector<int64_t>& first) {
  if (block.rows > 1) return offsets[block.cols];
  const int64_t width = block.cols;
  const auto fits = [&](int64_t length) {
    return length >= width && std::ranges::all_of(first, [&](int64_t place) {
             return place % length + width <= length;
           });
  };
  auto from = std::ranges::find_if(shape, [](int64_t extent) { return extent != 1; });
  if (from != shape.end()) ++from;
  for (;; --from) {
    const auto length = static_cast<int64_t>(element_count(Shape(from, shape.end())));
    if (from == shape.begin() || fits(length)) return length;
  }
}

void check_offsets(const Call& call, const std::vector<int64_t>& offsets, BlockShape block,
                   int64_t length) {
  for (size_t i = 0; i < offsets.size(); ++i) {
    const auto r = static_cast<int64_t>(i / block.cols), c = static_cast<int64_t>(i % block.cols);
    if (length < 1 || checked_mul(r, length).value_or(-1) != offsets[i] - c) {
      call.fail("offsets are not those of a block");
    }
  }
}

// Blocks that lie anywhere: the dense weight, packed anew in the smallest way.
EvalValue off_grid(const Call& call, std::string name, const Tensor& values, const Grid& grid,
                   const std::vector<int64_t>& first) {
  const size_t elements = grid.fold.count();
  if (elements > kMaxCopied) {
    throw Error(
        Fault::kUnsupported,
        fmt::format("blocks off the grid in a weight of more than {} elements", kMaxCopied));
  }
  Tensor dense = Tensor::zeros(DType::kF32, grid.shape);
  std::vector<bool> taken(elements);
  const std::vector<float> flat = to_f32(values);
  const std::span<float> out = dense.mutable_data<float>();
  for (size_t i = 0; i < flat.size(); ++i) {
    const size_t within = i % grid.block.area();
    const size_t place = static_cast<size_t>(first[i / grid.block.area()]) +
                         within / grid.block.cols * grid.fold.cols + within % grid.block.cols;
    if (taken[place]) call.fail(fmt::format("element {} is in two blocks", place));
    taken[place] = true;
    out[place] = flat[i];
  }
  if (std::optional<SparseMatrix> packed = pack_smallest(dense, grid.fold, grid.block)) {
    return weight(std::move(name), *std::move(packed));
  }
  const bool has_label = !name.empty();
  const ConstantPtr constant = make_constant(std::move(name), std::move(dense));
  constant->has_label = has_label;
  return EvalValue::of_tensor({kNoValue, constant});
}

EvalValue decode_first(const Call& call) {
  const Tensor values = block_values(call);
  const Constant& index = constant(call, "index");
  const Constant& offsets = constant(call, "offsets");
  const Shape& extents = values.shape();
  expect(call, "index", index.shape, {extents[0]});
  expect(call, "offsets", offsets.shape, {extents[1], extents[2]});
  const auto count = static_cast<int64_t>(values.count());
  expect(call, "count", call.integers("count"), {count});
  expect(call, "places", call.integers("places"), {count, 1});
  Grid grid;
  grid.block = block_shape(call, extents[1], extents[2]);
  grid.shape = call.integers("shape");
  const std::vector<int64_t> size = integers(call, "size", 1);
  const auto elements = static_cast<size_t>(size[0]);
  grid.fold = {1, 1, elements, false};
  check_grid(call, grid);
  const std::vector<int64_t> first = places(call, index), steps = places(call, offsets);
  const int64_t cols = row_length(steps, grid.block, grid.shape, first);
  check_offsets(call, steps, grid.block, cols);
  if (size[0] % cols != 0) call.fail("offsets do not fit the weight's rows");
  grid.fold = {1, elements / static_cast<size_t>(cols), static_cast<size_t>(cols), false};
  grid.rows = ceil_div(grid.fold.rows, grid.block.rows);
  grid.cols = ceil_div(grid.fold.cols, grid.block.cols);

  std::vector<int64_t> pairs;
  bool aligned = true;
  for (size_t i = 0; i < first.size(); ++i) {
    const int64_t row = first[i] / cols, col = first[i] % cols;
    const bool inside = first[i] >= 0 && col + extents[2] <= cols &&
                        static_cast<size_t>(row + extents[1]) <= grid.fold.rows;
    if (!inside)
      call.fail(fmt::format("index {} is {}: its block exceeds the weight", i, first[i]));
    aligned = aligned && row % extents[1] == 0 && col % extents[2] == 0;
    pairs.push_back(row / extents[1]);
    pairs.push_back(col / extents[2]);
  }
  std::string name = weight_name(call, "index");
  if (!aligned) return off_grid(call, std::move(name), values, grid, first);
  return weight(std::move(name), on_grid(call, grid, values, pairs));
}

EvalValue decode_diagonal(const Call& call) {
  const EvalValue& given = call.argument("diag");
  const ConstantPtr& diag = given.tensor.constant;
  if (given.kind != EvalValue::Kind::tensor || diag == nullptr || diag->dense() == nullptr) {
    throw NotTranslated{};
  }
  const ConstantPtr narrow = diag->narrow.lock();
  const Tensor& values = narrow != nullptr ? *narrow->dense() : *diag->dense();
  const std::vector<int64_t> column = integers(call, "column", 3);
  const int64_t parts = column[0], n = column[1];
  const auto elements = checked_mul(product(parts, n), static_cast<size_t>(n));
  if (!elements || *elements > kMaxElements) {
    throw Error(Fault::kUnsupported,
                fmt::format("a packed weight of more than {} elements", kMaxElements));
  }
  expect(call, "column", column, {parts, n, 1});
  expect(call, "diag", diag->shape, {parts * n});
  expect(call, "flat", call.integers("flat"), {parts, n * (n + 1)});
  expect(call, "keep", call.integers("keep"), {n * n});
  const std::vector<std::pair<int64_t, int64_t>> padding = {{0, 0}, {0, 0}, {0, n}};
  if (call.pairs("padding") != padding) call.fail("padding is not that of a diagonal");
  const Shape shape = call.integers("shape");
  for (const int64_t extent : shape) {
    if (extent < 0) call.fail(fmt::format("shape {}", to_string(shape)));
  }
  if (element_count(shape) != *elements || !is_float(values.dtype())) {
    call.fail(fmt::format("shape {} is not that of the diagonal", to_string(shape)));
  }
  return EvalValue::of_tensor(
      {kNoValue,
       make_constant("", Diagonal{values, static_cast<size_t>(parts), static_cast<size_t>(n)},
                     shape)});
}

// Moves what blocks hold on the diagonal over to it. The sum is what a dense reader computes.
void clear_diagonal(SparseMatrix& matrix, Tensor& diagonal) {
  std::vector<size_t> found;
  std::vector<size_t> where;
  for (size_t row = 0; row + 1 < matrix.row_start.size(); ++row) {
    const size_t part = row / matrix.grid_rows();
    const size_t first_row = row % matrix.grid_rows() * matrix.block.rows;
    for (size_t b = matrix.row_start[row]; b < matrix.row_start[row + 1]; ++b) {
      const size_t first_col = size_t{matrix.col[b]} * matrix.block.cols;
      for (size_t r = 0; r < matrix.block.rows; ++r) {
        const size_t at = first_row + r;
        const bool inside = at >= first_col && at < first_col + matrix.block.cols;
        if (!inside || at >= matrix.fold.rows) continue;
        found.push_back(b * matrix.block.area() + r * matrix.block.cols + (at - first_col));
        where.push_back(part * matrix.fold.rows + at);
      }
    }
  }
  const Tensor values = values_as_f32(matrix);
  const auto is_zero = [&](size_t place) { return values.data<float>()[place] == 0; };
  if (std::ranges::all_of(found, is_zero)) return;
  matrix.values = values.copy();
  matrix.scale = Tensor::zeros(DType::kF32, {0});
  diagonal = from_f32(to_f32(diagonal), DType::kF32, diagonal.shape());
  const std::span<float> blocks = matrix.values.mutable_data<float>();
  const std::span<float> line = diagonal.mutable_data<float>();
  for (size_t i = 0; i < found.size(); ++i) {
    line[where[i]] += blocks[found[i]];
    blocks[found[i]] = 0;
  }
}

}  // namespace

EvalValue decode_variable(Decode kind, const Call& call) {
  switch (kind) {
    case Decode::grid:
    case Decode::ragged:
    case Decode::parts:
      return decode_grid(kind, call);
    case Decode::first:
      return decode_first(call);
    case Decode::portable:
    case Decode::portable_ragged:
      return decode_portable(kind, call);
    case Decode::gather:
      return decode_gather(call);
    case Decode::diagonal:
      return decode_diagonal(call);
    case Decode::matmul:
    case Decode::matmul_ragged:
    case Decode::matmul_parts:
    case Decode::linear:
    case Decode::linear_ragged:
      break;  // their bodies call a decode
  }
  throw NotTranslated{};
}

std::optional<EvalValue> add_packed(const TensorRef& a, const TensorRef& b) {
  if (a.constant == nullptr || b.constant == nullptr) return std::nullopt;
  const bool diagonal_first = a.constant->diagonal() != nullptr;
  const ConstantPtr& blocks = diagonal_first ? b.constant : a.constant;
  const Diagonal* diagonal = (diagonal_first ? a : b).constant->diagonal();
  const SparseMatrix* packed = blocks->sparse();
  const bool fits = diagonal != nullptr && packed != nullptr && !packed->has_diagonal() &&
                    !packed->fold.transposed && a.constant->shape == b.constant->shape &&
                    diagonal->n > 0;
  if (!fits) return std::nullopt;
  const Fold fold{diagonal->parts, diagonal->n, diagonal->n, false};
  SparseMatrix matrix = *folded(blocks, fold)->sparse();
  Tensor line = diagonal->values;
  clear_diagonal(matrix, line);
  if (matrix.values.dtype() == DType::kI8) {
    line = as_f32(line);
  } else if (line.dtype() != matrix.values.dtype()) {  // both in one type: the wider
    line = as_f32(line);
    matrix.values = as_f32(matrix.values);
  }
  matrix.diagonal = line;
  return weight(blocks->has_label ? blocks->name : "", std::move(matrix));
}

namespace {

// One factor for each row where `scale` has the leading extents of the weight, then ones; one for
// all where it is a single number.
std::optional<std::vector<float>> row_factors(const Tensor& scale, const SparseMatrix& matrix) {
  const size_t rows = matrix.fold.parts * matrix.fold.rows;
  const std::vector<float> factors = to_f32(scale);
  if (factors.size() == 1) return std::vector<float>(rows, factors[0]);
  const Shape& extents = scale.shape();
  if (factors.size() != rows || extents.size() > matrix.shape.size()) return std::nullopt;
  size_t covered = 1;
  for (size_t axis = 0; axis < extents.size() && covered != rows; ++axis) {
    if (extents[axis] != matrix.shape[axis]) return std::nullopt;
    covered *= static_cast<size_t>(extents[axis]);
  }
  return factors;
}

bool all_ones(const Tensor& scale) {
  return std::ranges::all_of(to_f32(scale), [](float value) { return value == 1; });
}

void scale_values(SparseMatrix& matrix, const std::vector<float>& factors) {
  matrix.values = values_as_f32(matrix).copy();
  matrix.scale = Tensor::zeros(DType::kF32, {0});
  const std::span<float> values = matrix.values.mutable_data<float>();
  for (size_t block_row = 0; block_row + 1 < matrix.row_start.size(); ++block_row) {
    const size_t part = block_row / matrix.grid_rows();
    const size_t top = part * matrix.fold.rows + block_row % matrix.grid_rows() * matrix.block.rows;
    for (size_t b = matrix.row_start[block_row]; b < matrix.row_start[block_row + 1]; ++b) {
      for (size_t i = 0; i < matrix.block.area(); ++i) {
        const size_t row = top + i / matrix.block.cols;
        if (row >= (part + 1) * matrix.fold.rows) continue;  // sticks out: zeros
        values[b * matrix.block.area() + i] *= factors[row];
      }
    }
  }
}

// Matrices whose blocks are joined: each a [rows, columns] of one part.
using Strips = std::vector<const SparseMatrix*>;

// The packed parts, where they go together along `axis` but for their extents there.
std::optional<Strips> strips_of(const std::vector<TensorRef>& parts, size_t axis) {
  Strips strips;
  for (const TensorRef& part : parts) {
    const SparseMatrix* strip = part.constant == nullptr ? nullptr : part.constant->sparse();
    if (strip == nullptr) return std::nullopt;
    strips.push_back(strip);
    const SparseMatrix& first = *strips[0];
    const auto rows = static_cast<int64_t>(strip->fold.rows);
    const auto cols = static_cast<int64_t>(strip->fold.cols);
    const bool fits = strip->shape == Shape{rows, cols} && strip->fold.parts == 1 &&
                      !strip->fold.transposed && !strip->has_diagonal() &&
                      strip->block == first.block && strip->dtype == first.dtype &&
                      strip->values.dtype() == first.values.dtype() &&
                      (axis == 0 ? cols == first.shape[1] : rows == first.shape[0]);
    if (!fits) return std::nullopt;
  }
  return strips;
}

void append_blocks(SparseMatrix& whole, std::vector<std::byte>& values, const SparseMatrix& strip,
                   size_t row, uint32_t left) {
  const uint32_t begin = strip.row_start[row], end = strip.row_start[row + 1];
  for (uint32_t b = begin; b < end; ++b) whole.col.push_back(left + strip.col[b]);
  const size_t bytes = strip.block.area() * bytes_of(strip.values.dtype());
  const Bytes taken = strip.values.bytes().subspan(begin * bytes, (end - begin) * bytes);
  values.insert(values.end(), taken.begin(), taken.end());
}

// Below each other. A strip whose rows end inside a block ends a part: all parts are of one height.
std::optional<Fold> stacked_fold(const Strips& strips) {
  Fold fold{0, 0, strips[0]->fold.cols, false};
  size_t rows = 0;
  for (size_t i = 0; i < strips.size(); ++i) {
    rows += strips[i]->fold.rows;
    if (i + 1 != strips.size() && strips[i]->fold.rows % strips[i]->block.rows == 0) continue;
    if (fold.parts != 0 && rows != fold.rows) return std::nullopt;
    fold.rows = rows;
    ++fold.parts;
    rows = 0;
  }
  return fold;
}

// Beside each other: only the last may end inside a block.
std::optional<Fold> widened_fold(const Strips& strips) {
  Fold fold{1, strips[0]->fold.rows, 0, false};
  for (size_t i = 0; i < strips.size(); ++i) {
    const bool ragged = strips[i]->fold.cols % strips[i]->block.cols != 0;
    if (ragged && i + 1 != strips.size()) return std::nullopt;
    const bool same_scale =
        strips[i]->values.dtype() != DType::kI8 || same_bits(strips[i]->scale, strips[0]->scale);
    if (!same_scale) return std::nullopt;
    fold.cols += strips[i]->fold.cols;
  }
  return fold;
}

}  // namespace

std::optional<EvalValue> concat_packed(const std::vector<TensorRef>& parts, size_t axis) {
  if (axis > 1 || parts.size() < 2) return std::nullopt;
  const std::optional<Strips> strips = strips_of(parts, axis);
  if (!strips) return std::nullopt;
  const std::optional<Fold> fold = axis == 0 ? stacked_fold(*strips) : widened_fold(*strips);
  if (!fold) return std::nullopt;
  const SparseMatrix& first = *strips->front();
  SparseMatrix whole;
  whole.block = first.block;
  whole.fold = *fold;
  whole.dtype = first.dtype;
  whole.shape = {static_cast<int64_t>(fold->parts * fold->rows), static_cast<int64_t>(fold->cols)};
  whole.row_start = {0};
  std::vector<std::byte> values;
  std::vector<float> scale;
  const auto end_row = [&] { whole.row_start.push_back(static_cast<uint32_t>(whole.col.size())); };
  if (axis == 0) {
    for (const SparseMatrix* strip : *strips) {
      for (size_t row = 0; row < strip->grid_rows(); ++row) {
        append_blocks(whole, values, *strip, row, 0);
        end_row();
      }
      if (strip->scale.count() == 0) continue;
      const std::vector<float> more = to_f32(strip->scale);
      scale.insert(scale.end(), more.begin(), more.end());
    }
  } else {
    for (size_t row = 0; row < first.grid_rows(); ++row) {
      size_t left = 0;
      for (const SparseMatrix* strip : *strips) {
        append_blocks(whole, values, *strip, row, static_cast<uint32_t>(left));
        left += strip->grid_cols();
      }
      end_row();
    }
    whole.scale = first.scale;
  }
  if (!scale.empty())
    whole.scale = from_f32(scale, DType::kF32, {static_cast<int64_t>(scale.size())});
  whole.values = Tensor::zeros(first.values.dtype(), {static_cast<int64_t>(whole.col.size()),
                                                      whole.block.rows, whole.block.cols});
  ESPALIER_CHECK(whole.values.bytes().size() == values.size());
  std::ranges::copy(values, whole.values.mutable_bytes().begin());
  // Strips are NAME/0, NAME/1, ...
  std::string name = parts[0].constant->has_label ? parts[0].constant->name : "";
  name = name.ends_with("/0") ? name.substr(0, name.size() - 2) : "";
  return weight(std::move(name), std::move(whole));
}

std::optional<EvalValue> scale_packed(const TensorRef& a, const TensorRef& b) {
  if (a.constant == nullptr || b.constant == nullptr) return std::nullopt;
  const bool scale_first = a.constant->dense() != nullptr;
  const ConstantPtr& blocks = scale_first ? b.constant : a.constant;
  const Tensor* scale = (scale_first ? a : b).constant->dense();
  const SparseMatrix* packed = blocks->sparse();
  const bool usable = scale != nullptr && packed != nullptr && !packed->has_diagonal() &&
                      !packed->fold.transposed && packed->dtype == DType::kF32 &&
                      scale->dtype() == DType::kF32 && packed->values.dtype() != DType::kF16;
  if (!usable) return std::nullopt;
  const std::optional<std::vector<float>> factors = row_factors(*scale, *packed);
  if (!factors) return std::nullopt;
  SparseMatrix matrix = *packed;
  const auto is_scale = [](float value) { return value >= 0 && std::isfinite(value); };
  if (matrix.values.dtype() == DType::kI8 && all_ones(matrix.scale) &&
      std::ranges::all_of(*factors, is_scale)) {
    matrix.scale = from_f32(*factors, DType::kF32, {static_cast<int64_t>(factors->size())});
  } else {
    scale_values(matrix, *factors);
  }
  return weight(blocks->has_label ? blocks->name : "", std::move(matrix));
}

std::optional<EvalValue> mask_constant(const TensorRef& mask, const TensorRef& values) {
  if (mask.constant == nullptr || values.constant == nullptr) return std::nullopt;
  const Tensor* kept = mask.constant->dense();
  const Tensor* given = values.constant->dense();
  const bool fits = kept != nullptr && given != nullptr && kept->shape() == given->shape() &&
                    (given->dtype() == DType::kF32 || given->dtype() == DType::kF16);
  if (!fits) return std::nullopt;
  std::vector<bool> keeps;
  if (kept->dtype() == DType::kBool) {
    for (const uint8_t one : kept->data<uint8_t>()) keeps.push_back(one != 0);
  } else if (kept->dtype() == DType::kF32) {
    // A product: what is not finite stays so where the mask is 0.
    const auto is_finite = [](float value) { return std::isfinite(value); };
    if (!std::ranges::all_of(to_f32(*given), is_finite)) return std::nullopt;
    for (const float one : kept->data<float>()) {
      if (one != 0 && one != 1) return std::nullopt;
      keeps.push_back(one == 1);
    }
  } else {
    return std::nullopt;
  }
  Tensor dense = given->copy();
  const size_t width = bytes_of(dense.dtype());
  for (size_t i = 0; i < keeps.size(); ++i) {
    if (!keeps[i]) std::memset(dense.mutable_bytes().data() + i * width, 0, width);
  }
  const std::string& label = values.constant->name;
  const bool named = values.constant->has_label && label.ends_with("/values") &&
                     mask.constant->name == label.substr(0, label.size() - 6) + "mask";
  const ConstantPtr result =
      make_constant(named ? label.substr(0, label.size() - 7) : "", std::move(dense));
  result->has_label = named;
  result->masked = true;
  return EvalValue::of_tensor({kNoValue, result});
}

}  // namespace espalier::nnef
