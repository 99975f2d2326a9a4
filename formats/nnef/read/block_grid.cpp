#include "formats/nnef/read/block_grid.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "formats/nnef/read/decode_arguments.h"
#include "lib/base/checked_math.h"
#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

Tensor ones(size_t count) {
  const std::vector<float> values(count, 1.0F);
  return Tensor::of<float>({static_cast<int64_t>(count)}, std::span<const float>(values));
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

// One number of each pair of `index`, or how many pairs come before each row.
Indices columns_of(const Tensor& index) {
  const auto make = [index] {
    const std::vector<int64_t> pairs = to_i64(index);
    std::vector<uint32_t> columns(pairs.size() / 2);
    for (size_t i = 0; i < columns.size(); ++i)
      columns[i] = static_cast<uint32_t>(pairs[2 * i + 1]);
    index.give_back();
    return std::make_shared<const std::vector<uint32_t>>(std::move(columns));
  };
  return Indices::deferred(index.count() / 2, make);
}

}  // namespace

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

// Sorts the blocks by row and column where they are not, then counts them row by row.
SparseMatrix on_grid(const Call& call, const Grid& grid, const Tensor& values,
                     const std::vector<int64_t>& pairs, const Tensor* index) {
  check_grid(call, grid);
  const size_t count = pairs.size() / 2;
  expect_shape(call, "values", values.shape(),
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
  std::vector<uint32_t>& row_start = matrix.row_start.own();
  std::partial_sum(row_start.begin(), row_start.end(), row_start.begin());
  matrix.values = sorted ? values : reordered(values, order);
  matrix.dtype = DType::kF32;
  if (values.dtype() == DType::kI8) matrix.scale = ones(grid.fold.parts * grid.fold.rows);
  clear_outside(matrix);
  if (index != nullptr && sorted && count >= kWorthDeferring) matrix.col = columns_of(*index);
  return matrix;
}

}  // namespace espalier::nnef
