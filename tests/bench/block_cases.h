#pragma once

#include <algorithm>
#include <chrono>
#include <random>
#include <vector>

#include "lib/sparse/sparse_matrix.h"

namespace espalier {

inline std::vector<float> random_values(size_t count) {
  std::mt19937 random(1);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(random()) / 2147483648.0F - 1.0F;
  return values;
}

/// W [m, k] of which each block is zero with a chance of `zeros` percent.
inline SparseMatrix random_blocks(BlockShape block, size_t m, size_t k, int zeros) {
  std::mt19937 random(2);
  SparseMatrix matrix;
  matrix.shape = {static_cast<int64_t>(m), static_cast<int64_t>(k)};
  matrix.fold = {.parts = 1, .rows = m, .cols = k};
  matrix.block = block;
  matrix.row_start.push_back(0);
  for (size_t row = 0; row < matrix.grid_rows(); ++row) {
    for (uint32_t col = 0; col < matrix.grid_cols(); ++col)
      if (random() % 100 >= static_cast<uint32_t>(zeros)) matrix.col.push_back(col);
    matrix.row_start.push_back(static_cast<uint32_t>(matrix.col.size()));
  }
  matrix.values = Tensor::of<float>({static_cast<int64_t>(matrix.blocks()), block.rows, block.cols},
                                    random_values(matrix.blocks() * block.area()));
  return matrix;
}

/// Seconds of one call, over as many calls as take about 20 us.
class Stopwatch {
 public:
  template <class Body>
  double operator()(const Body& body) {
    const auto start = std::chrono::steady_clock::now();
    for (size_t i = 0; i < calls_; ++i) body();
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
    const double seconds = passed.count() / static_cast<double>(calls_);
    if (seconds * static_cast<double>(calls_) < 20e-6 && calls_ < 1000) calls_ *= 2;
    best_ = std::min(best_, seconds);
    return seconds;
  }
  double best() const { return best_; }

 private:
  size_t calls_ = 1;
  double best_ = 1e30;
};

}  // namespace espalier
