#include "lib/sparse/block_index.h"

#include <fmt/format.h>

#include <numeric>

#include "lib/base/check.h"
#include "lib/base/checked_math.h"
#include "lib/base/error.h"
#include "lib/sparse/pack_rules.h"

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

void BlockIndex::add(Bytes bits, size_t blocks) {
  constexpr size_t kByteBits = 8;
  const size_t cols = matrix_.grid_cols(), grid = grid_blocks(matrix_);
  ESPALIER_CHECK(bits.size() == ceil_div(grid, kByteBits));
  size_t set = 0;
  for (size_t byte = 0; byte < bits.size(); ++byte) {
    const auto eight = std::to_integer<unsigned>(bits[byte]);
    for (size_t bit = 0; eight != 0 && bit < kByteBits; ++bit) {
      if ((eight << bit & 0x80U) == 0) continue;
      const size_t at = byte * kByteBits + bit;
      require(at < grid, "bitmap has bit {} set, the grid has {} blocks", at, grid);
      if (++set <= blocks) add(static_cast<int64_t>(at / cols), static_cast<int64_t>(at % cols));
    }
  }
  require(set == blocks, "bitmap has {} bits set, there are {} blocks of values", set, blocks);
}

void BlockIndex::finish() {
  std::vector<uint32_t>& starts = matrix_.row_start.own();
  std::partial_sum(starts.begin(), starts.end(), starts.begin());
}

}  // namespace espalier
