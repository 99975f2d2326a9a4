#include "formats/nnef/read/sparse_variable.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/nnef/read/block_grid.h"
#include "formats/nnef/read/decode_arguments.h"
#include "formats/nnef/read/first_element.h"
#include "lib/base/checked_math.h"
#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

std::vector<int64_t> index_pairs(const Call& call, const Tensor& values) {
  const Constant& index = constant_argument(call, "index");
  expect_shape(call, "index", index.shape, {values.shape()[0], 2});
  return index_values(call, index);
}

// Whether `kept` of `padded` elements end inside the last block.
bool is_edge(int64_t kept, int64_t padded, int64_t block) {
  return kept <= padded && kept > padded - block;
}

// shape = [rows, columns] cut out of padded: the grid's, with an edge.
void cut_edge(const Call& call, Grid& grid, int64_t rows, int64_t cols) {
  expect_shape(call, "padded", call.integers("padded"), {rows, cols});
  if (grid.shape.size() != 2 || !is_edge(grid.shape[0], rows, grid.block.rows) ||
      !is_edge(grid.shape[1], cols, grid.block.cols)) {
    call.fail(fmt::format("shape {} of {} x {} with blocks {}", to_string(grid.shape), rows, cols,
                          to_string(grid.block)));
  }
  grid.fold.rows = static_cast<size_t>(grid.shape[0]);
  grid.fold.cols = static_cast<size_t>(grid.shape[1]);
}

// Parts [rows, columns] = keep, each cut out of its piece of padded, which is the grid's.
void cut_parts(const Call& call, Grid& grid, int64_t rows, int64_t cols) {
  const std::vector<int64_t> padded = integers(call, "padded", 3);
  const std::vector<int64_t> keep = integers(call, "keep", 2);
  const auto grid_rows = static_cast<int64_t>(grid.rows);
  const bool fits = padded[0] > 0 && padded[2] == cols && grid_rows % padded[0] == 0 &&
                    rows / padded[0] == padded[1] && is_edge(keep[0], padded[1], grid.block.rows) &&
                    is_edge(keep[1], cols, grid.block.cols);
  if (!fits) call.fail("padded and keep do not fit grid");
  grid.fold = {static_cast<size_t>(padded[0]), static_cast<size_t>(keep[0]),
               static_cast<size_t>(keep[1]), false};
}

// An index of (block row, block column) pairs on a grid that the arguments describe.
EvalValue decode_grid(Decode kind, const Call& call) {
  const Tensor values = block_values(call);
  const std::vector<int64_t> given = integers(call, "grid", 4);
  Grid grid;
  grid.rows = static_cast<size_t>(given[0]);
  grid.cols = static_cast<size_t>(given[1]);
  grid.block = block_shape(call, given[2], given[3]);
  grid.shape = call.integers("shape");
  const auto rows = static_cast<int64_t>(capped_product(given[0], given[2]));
  const auto cols = static_cast<int64_t>(capped_product(given[1], given[3]));
  if (rows < 0 || cols < 0) call.fail("grid is too large");
  grid.fold = {1, static_cast<size_t>(rows), static_cast<size_t>(cols), false};
  if (kind == Decode::ragged) cut_edge(call, grid, rows, cols);
  if (kind == Decode::parts) cut_parts(call, grid, rows, cols);
  const Tensor& index = *constant_argument(call, "index").dense();
  SparseMatrix matrix = on_grid(call, grid, values, index_pairs(call, values),
                                is_float(index.dtype()) ? nullptr : &index);
  index.give_back();
  return packed_weight(weight_name(call, "index"), std::move(matrix));
}

void expect_count_up(const Call& call, std::string_view name, const Shape& shape) {
  const Constant& ids = constant_argument(call, name);
  expect_shape(call, name, ids.shape, shape);
  const std::vector<int64_t> values = index_values(call, ids);
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] != static_cast<int64_t>(i)) throw NotTranslated{};
  }
}

// The columns of the items that are set, made again when they are looked at.
Indices columns_of(const Tensor& mask, size_t cells, size_t cols, size_t count) {
  return Indices::deferred(count, [mask, cells, cols, count] {
    std::vector<uint32_t> columns;
    columns.reserve(count);
    const std::span<const uint8_t> items = mask.data<uint8_t>();
    for (size_t i = 0; i < cells; ++i) {
      if (items[i] != 0) columns.push_back(static_cast<uint32_t>(i % cols));
    }
    return std::make_shared<const std::vector<uint32_t>>(std::move(columns));
  });
}

// One item of a mask for each block of the grid, then zeros; the blocks in the order of the items.
EvalValue decode_bitmap(const Call& call) {
  const Tensor values = block_values(call);
  const std::vector<int64_t> given = integers(call, "grid", 4);
  Grid grid;
  grid.rows = static_cast<size_t>(given[0]), grid.cols = static_cast<size_t>(given[1]);
  grid.block = block_shape(call, given[2], given[3]);
  grid.shape = call.integers("shape");
  const auto rows = static_cast<int64_t>(capped_product(given[0], given[2]));
  const auto cols = static_cast<int64_t>(capped_product(given[1], given[3]));
  if (rows < 0 || cols < 0) call.fail("grid is too large");
  cut_parts(call, grid, rows, cols);
  check_grid(call, grid);
  const size_t cells = grid.rows * grid.cols;
  const Constant& constant = constant_argument(call, "mask");
  const Tensor& mask = *constant.dense();
  const Shape& shape = constant.shape;
  if (mask.dtype() != DType::kBool || shape.size() != 3 || shape[1] != shape[2] ||
      shape[0] > shape[1] || mask.count() < cells) {
    call.fail(
        fmt::format("mask is {} of shape {}, expected logicals of shape [A, K, K], A at most "
                    "K, for a grid of {} blocks",
                    name_of(mask.dtype()), to_string(shape), cells));
  }
  const auto padded = static_cast<int64_t>(mask.count());
  expect_count_up(call, "ids", {shape[1], 1});
  expect_shape(call, "pages", call.integers("pages"), {shape[0], shape[0]});
  expect_shape(call, "flat", call.integers("flat"), {padded});
  expect_shape(call, "cells", call.integers("cells"), {padded, 1, 1});
  expect_shape(call, "count", call.integers("count"), {static_cast<int64_t>(cells)});
  std::vector<int64_t> pairs;
  const std::span<const uint8_t> items = mask.data<uint8_t>();
  for (size_t i = 0; i < items.size(); ++i) {
    if (items[i] == 0) continue;
    if (i >= cells)
      call.fail(fmt::format("mask has item {} set, the grid has {} blocks", i, cells));
    pairs.push_back(static_cast<int64_t>(i / grid.cols));
    pairs.push_back(static_cast<int64_t>(i % grid.cols));
  }
  const auto count = static_cast<int64_t>(pairs.size() / 2);
  if (count != values.shape()[0]) {
    call.fail(fmt::format("mask has {} items set, there are {} blocks of values", count,
                          values.shape()[0]));
  }
  SparseMatrix matrix = on_grid(call, grid, values, pairs);
  if (const auto blocks = static_cast<size_t>(count); blocks >= kWorthDeferring)
    matrix.col = columns_of(mask, cells, grid.cols, blocks);
  return packed_weight(weight_name(call, "mask"), std::move(matrix));
}

// The same index as scalars, with constants that count rows and columns, which must count up from
// 0.
EvalValue decode_portable(Decode kind, const Call& call) {
  Tensor values = block_values(call);
  const std::vector<int64_t> cells = integers(call, "cells", 4);  // R, br, bc, C
  Grid grid;
  grid.rows = static_cast<size_t>(cells[0]);
  grid.cols = static_cast<size_t>(cells[3]);
  grid.block = block_shape(call, cells[1], cells[2]);
  grid.fold = {1, capped_product(cells[0], cells[1]), capped_product(cells[3], cells[2]), false};
  grid.shape = call.integers("shape");
  const auto rows = static_cast<int64_t>(grid.fold.rows);
  const auto cols = static_cast<int64_t>(grid.fold.cols);
  if (rows < 0 || cols < 0) call.fail("cells are too large");
  if (kind == Decode::portable_ragged) cut_edge(call, grid, rows, cols);
  check_grid(call, grid);
  expect_count_up(call, "row_ids", {cells[0], 1});
  expect_count_up(call, "col_ids", {1, cells[3]});
  expect_shape(call, "flat", call.integers("flat"), {rows * cells[2], values.shape()[0]});
  std::vector<int64_t> pairs = index_pairs(call, values);
  // The place behind the last one is none: what a strip without blocks holds.
  if (pairs == std::vector<int64_t>{cells[0], cells[3]}) {
    pairs.clear();
    values = Tensor::zeros(values.dtype(), {0, cells[1], cells[2]});
  }
  return packed_weight(weight_name(call, "index"), on_grid(call, grid, values, pairs));
}

bool is_zero_bits(Bytes bytes) {
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

// A map with the number of a block for each cell of the grid; cells of zero blocks are not kept.
EvalValue decode_gather(const Call& call) {
  const Tensor values = block_values(call);
  const Constant& map = constant_argument(call, "map");
  if (map.shape.size() != 2) call.fail(fmt::format("map is {}", to_string(map.shape)));
  const Shape& extents = values.shape();
  Grid grid;
  grid.rows = static_cast<size_t>(map.shape[0]);
  grid.cols = static_cast<size_t>(map.shape[1]);
  grid.block = block_shape(call, extents[1], extents[2]);
  grid.fold = {1, capped_product(map.shape[0], extents[1]),
               capped_product(map.shape[1], extents[2]), false};
  grid.shape = call.integers("shape");
  check_grid(call, grid);
  const size_t bytes = grid.block.area() * bytes_of(values.dtype());
  const size_t most = std::max(values.count(), kMaxCopied) / grid.block.area();
  std::vector<size_t> order;
  std::vector<int64_t> pairs;
  const std::vector<int64_t> blocks = index_values(call, map);
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
  return packed_weight(weight_name(call, "map"),
                       on_grid(call, grid, reordered(values, order), pairs));
}

// The values of a diagonal in the type that they are stored in.
Tensor diagonal_values(const Call& call) {
  const EvalValue& given = call.argument("diag");
  const ConstantPtr& diag = given.tensor.constant;
  if (given.kind != EvalValue::Kind::tensor || diag == nullptr || diag->dense() == nullptr) {
    throw NotTranslated{};
  }
  const ConstantPtr narrow = diag->narrow.lock();
  const Tensor& values = narrow != nullptr ? *narrow->dense() : *diag->dense();
  if (!is_float(values.dtype())) call.fail("diag is not of floats");
  return values;
}

// Errors  Fault::kUnsupported for rows * n elements that are too many.
void check_diagonal_size(int64_t rows, int64_t n) {
  const auto elements = checked_mul(static_cast<size_t>(rows), static_cast<size_t>(n));
  if (elements && *elements <= kMaxElements) return;
  throw Error(Fault::kUnsupported,
              fmt::format("a packed weight of more than {} elements", kMaxElements));
}

EvalValue diagonal_of_shape(const Call& call, Diagonal diagonal, size_t elements) {
  const Shape shape = call.integers("shape");
  for (const int64_t extent : shape) {
    if (extent < 0) call.fail(fmt::format("shape {}", to_string(shape)));
  }
  if (element_count(shape) != elements) {
    call.fail(fmt::format("shape {} is not that of the diagonal", to_string(shape)));
  }
  return EvalValue::of_tensor({kNoValue, make_constant("", std::move(diagonal), shape)});
}

// A diagonal per part, which the fragment builds by padding and slicing; it is recognised by its
// arguments.
EvalValue decode_diagonal(const Call& call) {
  const Tensor values = diagonal_values(call);
  const std::vector<int64_t> column = integers(call, "column", 3);
  const int64_t parts = column[0], n = column[1];
  const auto rows = static_cast<int64_t>(std::min<size_t>(capped_product(parts, n), INT64_MAX));
  check_diagonal_size(rows, n);
  expect_shape(call, "column", column, {parts, n, 1});
  expect_shape(call, "diag", values.shape(), {parts * n});
  expect_shape(call, "flat", call.integers("flat"), {parts, n * (n + 1)});
  expect_shape(call, "keep", call.integers("keep"), {n * n});
  const std::vector<std::pair<int64_t, int64_t>> padding = {{0, 0}, {0, 0}, {0, n}};
  if (call.pairs("padding") != padding) call.fail("padding is not that of a diagonal");
  return diagonal_of_shape(call, {values, static_cast<size_t>(parts), static_cast<size_t>(n)},
                           static_cast<size_t>(rows * n));
}

// Rows of one part, moved to the right by the first of them.
EvalValue decode_diagonal_strip(const Call& call) {
  const Tensor values = diagonal_values(call);
  const int64_t rows = integers(call, "column", 2)[0];
  const auto padding = call.pairs("padding"), shift = call.pairs("shift");
  if (padding.size() != 2 || shift.size() != 1) call.fail("padding is not that of a diagonal");
  const int64_t n = padding[1].second, first = shift[0].first;
  const bool fits = n >= 0 && first >= 0 && first <= n && rows <= n - first && rows > 0;
  if (!fits) call.fail(fmt::format("rows {} to {} of {}", first, first + rows, n));
  check_diagonal_size(rows, n);
  using Pairs = std::vector<std::pair<int64_t, int64_t>>;
  if (padding != Pairs{{0, 0}, {0, n}} || shift != Pairs{{first, 0}})
    call.fail("padding is not that of a diagonal");
  expect_shape(call, "column", call.integers("column"), {rows, 1});
  expect_shape(call, "diag", values.shape(), {rows});
  expect_shape(call, "line", call.integers("line"), {rows * (n + 1)});
  expect_shape(call, "keep", call.integers("keep"), {rows * n});
  return diagonal_of_shape(call, {values, 1, static_cast<size_t>(n), static_cast<size_t>(first)},
                           static_cast<size_t>(rows * n));
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
    case Decode::bitmap:
      return decode_bitmap(call);
    case Decode::portable:
    case Decode::portable_ragged:
      return decode_portable(kind, call);
    case Decode::gather:
      return decode_gather(call);
    case Decode::diagonal:
      return decode_diagonal(call);
    case Decode::diagonal_strip:
      return decode_diagonal_strip(call);
    case Decode::matmul:
    case Decode::matmul_ragged:
    case Decode::matmul_parts:
    case Decode::linear:
    case Decode::linear_ragged:
      break;  // their bodies call a decode
  }
  throw NotTranslated{};
}

}  // namespace espalier::nnef
