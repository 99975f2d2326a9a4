#pragma once

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "lib/kernels/scratch.h"
#include "lib/kernels/simd_target.h"
#include "lib/kernels/sparse_product.h"
#include "lib/sparse/sparse_matrix.h"

namespace espalier {

/// Builds for ARM run under qemu, tens of times slower: their tests take fewer cases of a kind.
#if defined(__x86_64__)
constexpr bool kEmulated = false;
#else
constexpr bool kEmulated = true;
#endif

/// Calls body() once per instruction set of this machine, the best one last, which stays in use.
template <class Body>
void for_each_simd_target(const Body& body) {
  const std::vector<std::string> names = simd_targets();
  for (size_t i = names.size(); i-- > 0;) {
    set_simd_target(names[i]);
    body();
  }
}

/// Numbers from -1 to 1 by a fixed seed.
inline std::vector<float> random_values(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& value : values)
    value = static_cast<float>(random()) / static_cast<float>(1U << 31) - 1.0F;
  return values;
}

/// Random blocks with about `density` of the grid kept; zeros where a block sticks out,
/// and on a diagonal that is kept apart.
inline SparseMatrix random_sparse(Fold fold, BlockShape block, double density, bool diagonal,
                                  uint32_t seed = 1) {
  std::mt19937 random(seed);
  SparseMatrix matrix;
  matrix.fold = fold;
  matrix.block = block;
  matrix.shape = {static_cast<int64_t>(fold.parts), static_cast<int64_t>(fold.rows),
                  static_cast<int64_t>(fold.cols)};
  std::vector<float> values;
  matrix.row_start.push_back(0);
  for (size_t row = 0; row < fold.parts * matrix.grid_rows(); ++row) {
    const size_t first = row % matrix.grid_rows() * block.rows;
    for (size_t col = 0; col < matrix.grid_cols(); ++col) {
      if (static_cast<double>(random()) >= density * 4294967296.0) continue;
      matrix.col.push_back(static_cast<uint32_t>(col));
      for (size_t r = 0; r < block.rows; ++r)
        for (size_t c = 0; c < block.cols; ++c) {
          const size_t x = col * block.cols + c, y = first + r;
          const bool inside = y < fold.rows && x < fold.cols && !(diagonal && x == y);
          const float value = static_cast<float>(random()) / static_cast<float>(1U << 31) - 1.0F;
          values.push_back(inside ? value : 0.0F);
        }
    }
    matrix.row_start.push_back(static_cast<uint32_t>(matrix.col.size()));
  }
  matrix.values =
      Tensor::of<float>({static_cast<int64_t>(matrix.col.size()), block.rows, block.cols}, values);
  if (diagonal)
    matrix.diagonal = Tensor::of<float>({static_cast<int64_t>(fold.parts * fold.rows)},
                                        random_values(fold.parts * fold.rows, seed + 1));
  return matrix;
}

inline std::vector<float> run_product(const Product& product, size_t outputs,
                                      const std::vector<float>& x, Features features, size_t n,
                                      const float* bias, ThreadPool& pool) {
  std::vector<float> y(outputs * n, std::nanf("unwritten"));
  Scratch aligned;  // as tensors of the runtime are; of even counts alone, so that both are tried
  const float* from = x.data();
  if (n % 2 == 0) from = std::copy(x.begin(), x.end(), aligned.floats(x.size())) - x.size();
  product.run(from, features, n, bias, y.data(), pool);
  return y;
}

/// Largest difference; infinite where one is a number and the other not.
inline float max_difference(const std::vector<float>& a, const std::vector<float>& b) {
  float largest = a.size() == b.size() ? 0.0F : INFINITY;
  for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    if (a[i] == b[i]) continue;  // equal infinities
    const float difference = std::fabs(a[i] - b[i]);
    largest = std::isnan(difference) ? INFINITY : std::max(largest, difference);
  }
  return largest;
}

}  // namespace espalier
