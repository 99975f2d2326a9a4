#include "lib/sparse/block_index.h"

#include <fmt/format.h>

#include <numeric>

#include "lib/base/error.h"

namespace espalier {
namespace {

template <typename... Args>
void require(bool holds, fmt::format_string<Args...> text, Args&&... args) {
  if (!holds) throw Error(Fault::kFormat, fmt::format(text, std::forward<Args>(args)...));
}

}  // namespace

BlockIndex::BlockIndex(SparseMatrix& matrix) : matrix_(matrix) {
  matrix_.row_start.assign(matrix_.fold.parts * matrix_.grid_rows() + 1, 0);
  matrix_.col.clear();
}

void BlockIndex::add(int64_t row, int64_t col) {
  const auto rows = static_cast<int64_t>(matrix_.row_start.size() - 1);
  const size_t block = matrix_.col.size();
  require(row >= 0 && row < rows, "block {} is in block row {}, the grid has {}", block, row, rows);
  require(row >= last_row_,
          "block {} is in block row {} after block row {}, expected ascending rows", block, row,
          last_row_);
  require(col >= 0 && col < static_cast<int64_t>(matrix_.grid_cols()),
          "block {} is in block column {}, the grid has {}", block, col, matrix_.grid_cols());
  last_row_ = row;
  matrix_.col.push_back(static_cast<uint32_t>(col));
  ++matrix_.row_start[static_cast<size_t>(row) + 1];
}

void BlockIndex::finish() {
  std::vector<uint32_t>& starts = matrix_.row_start.own();
  std::partial_sum(starts.begin(), starts.end(), starts.begin());
}

}  // namespace espalier
