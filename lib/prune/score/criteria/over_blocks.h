#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "lib/base/checked_math.h"
#include "lib/prune/score/criterion.h"

namespace espalier {

/// Folds the elements of each block of block rows [first, last) to one number and writes
/// finish(number) as its score. `Rule` has
///   using Number;  Number{} is neutral
///   static void add(Number& sum, float element);       one more element
///   static void join(Number& sum, Number column);      one more column of the block
///   static float finish(Number sum);
/// Order  down each column of the block, then the columns from left to right, both for plain and
/// transposed weights: the score is the same to the bit. Memory is walked along its lines in both.
template <typename Rule>
class OverBlocks {
 public:
  OverBlocks(const ScoreContext& context, std::span<float> scores)
      : w_(context.weight),
        fold_(context.weight.fold),
        block_(context.block),
        skip_(context.skip_diagonal),
        grid_rows_(ceil_div(fold_.rows, block_.rows)),
        grid_cols_(ceil_div(fold_.cols, block_.cols)),
        scores_(scores) {}

  void run(size_t first, size_t last) const {
    while (first < last) {  // one part at a time
      const size_t part = first / grid_rows_;
      const size_t end = std::min(last, (part + 1) * grid_rows_);
      if (fold_.transposed) {
        transposed(part, first - part * grid_rows_, end - part * grid_rows_);
      } else {
        for (size_t row = first; row < end; ++row) plain(part, row - part * grid_rows_);
      }
      first = end;
    }
  }

 private:
  using Number = typename Rule::Number;

  // Stored [outputs, inputs]: a tile of columns at a time, row after row.
  void plain(size_t part, size_t block_row) const {
    const size_t tile = std::max<size_t>(1, 1024 / block_.cols) * block_.cols;
    std::vector<Number> columns(std::min(tile, round_up(fold_.cols, block_.cols)));
    const size_t row0 = block_row * block_.rows;
    const size_t row1 = std::min<size_t>(row0 + block_.rows, fold_.rows);
    float* scores = scores_.data() + (part * grid_rows_ + block_row) * grid_cols_;
    for (size_t col0 = 0; col0 < fold_.cols; col0 += tile) {
      const size_t col1 = std::min(col0 + tile, fold_.cols);
      std::fill(columns.begin(), columns.end(), Number{});
      for (size_t r = row0; r < row1; ++r) {
        const float* line = w_.part(part) + r * fold_.cols;
        const size_t hole = skip_ ? std::clamp(r, col0, col1) : col1;
        add_line(line + col0, hole - col0, columns.data());
        if (hole < col1) {
          const size_t after = hole + (hole == r ? 1 : 0);
          add_line(line + after, col1 - after, columns.data() + (after - col0));
        }
      }
      for (size_t c = col0; c < col1; c += block_.cols) {
        Number sum{};
        for (size_t i = 0; i < block_.cols; ++i) Rule::join(sum, columns[c - col0 + i]);
        scores[c / block_.cols] = Rule::finish(sum);
      }
    }
  }

  static void add_line(const float* line, size_t count, Number* columns) {
    for (size_t i = 0; i < count; ++i) Rule::add(columns[i], line[i]);
  }

  // Stored [inputs, outputs]: column after column, each from the first block row to the last.
  void transposed(size_t part, size_t first, size_t last) const {
    std::vector<Number> sums(last - first);
    for (size_t block_col = 0; block_col < grid_cols_; ++block_col) {
      std::fill(sums.begin(), sums.end(), Number{});
      const size_t col1 = std::min<size_t>((block_col + 1) * block_.cols, fold_.cols);
      for (size_t c = block_col * block_.cols; c < col1; ++c) {
        const float* line = w_.part(part) + c * fold_.rows;
        for (size_t row = first; row < last; ++row)
          Rule::join(sums[row - first], column(line, row, c));
      }
      float* scores = scores_.data() + (part * grid_rows_ + first) * grid_cols_ + block_col;
      for (size_t i = 0; i < sums.size(); ++i) scores[i * grid_cols_] = Rule::finish(sums[i]);
    }
  }

  Number column(const float* line, size_t block_row, size_t c) const {
    const size_t row0 = block_row * block_.rows;
    const size_t row1 = std::min<size_t>(row0 + block_.rows, fold_.rows);
    Number sum{};
    for (size_t r = row0; r < row1; ++r) {
      if (!(skip_ && r == c)) Rule::add(sum, line[r]);
    }
    return sum;
  }

  const MatrixView& w_;
  const Fold& fold_;
  BlockShape block_;
  bool skip_;
  size_t grid_rows_, grid_cols_;
  std::span<float> scores_;
};

template <typename Rule>
void score_blocks(const ScoreContext& context, size_t first, size_t last, std::span<float> scores) {
  OverBlocks<Rule>(context, scores).run(first, last);
}

}  // namespace espalier
