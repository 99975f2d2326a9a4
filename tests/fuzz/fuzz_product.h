#pragma once

#include <cmath>

#include "lib/base/check.h"
#include "lib/base/thread_pool.h"
#include "lib/kernels/sparse_product.h"
#include "lib/sparse/pack.h"
#include "tests/fuzz/fuzz_input.h"

namespace espalier {

/// A packed weight and what it is multiplied with, as a fuzzer chooses them.
struct FuzzProduct {
  Tensor dense;  ///< what the weight decodes to, f32 [m, k]
  SparseMatrix packed;
  size_t m = 1, k = 1, n = 1;
  Features features = Features::kInner;
  std::vector<float> x, bias;  ///< bias [m], or empty

  explicit FuzzProduct(FuzzInput& input) {
    constexpr BlockShape kBlocks[] = {{16, 1}, {16, 4}, {8, 1}, {8, 4}, {4, 8}, {1, 1},
                                      {1, 4},  {4, 4},  {5, 3}, {2, 7}, {1, 16}};
    const BlockShape block = input.one_of(kBlocks);
    m = input.between(1, 70), k = input.between(1, 70), n = input.between(1, 40);
    const Fold fold{1, m, k, input.coin()};
    const bool diagonal = m == k && input.coin();
    features = input.coin() ? Features::kOuter : Features::kInner;
    const bool with_bias = input.coin();
    BlockMask mask(block, fold, false);
    for (size_t i = 0; i < mask.blocks(); ++i) mask.kept[i] = input.byte() % 3 == 0;
    // The same few values again and again: a short input still fills a matrix.
    std::vector<float> few = input.values(32), many(m * k);
    for (size_t i = 0; i < many.size(); ++i) many[i] = few[(i * 7 + i / 32) % 32];
    const Shape shape = fold.transposed ? Shape{static_cast<int64_t>(k), static_cast<int64_t>(m)}
                                        : Shape{static_cast<int64_t>(m), static_cast<int64_t>(k)};
    packed = pack_blocks(Tensor::of<float>(shape, many), fold, mask, diagonal);
    const std::vector<float> kept = to_f32(decode(packed));
    dense = Tensor::zeros(DType::kF32, {static_cast<int64_t>(m), static_cast<int64_t>(k)});
    for (size_t r = 0; r < m; ++r) {
      for (size_t c = 0; c < k; ++c)
        dense.mutable_data<float>()[r * k + c] = kept[fold.offset(0, r, c)];
    }
    few = input.values(24);
    x.resize(k * n);
    for (size_t i = 0; i < x.size(); ++i) x[i] = few[(i * 5 + i / 24) % 24];
    if (with_bias) bias = std::vector<float>(m, input.value());
  }

  std::vector<float> run(const Product& product) const {
    ThreadPool pool(1);
    std::vector<float> y(m * n, NAN);
    product.run(x.data(), features, n, bias.empty() ? nullptr : bias.data(), y.data(), pool);
    return y;
  }

  /// What rounding may part two sums of the same k products: values and inputs are up to 8.
  double rounding() const { return 64.0 * 1.2e-7 * static_cast<double>(k + 1) * 4; }

  void check_equal(const std::vector<float>& a, const std::vector<float>& b, double most) const {
    ESPALIER_CHECK(a.size() == b.size());
    for (size_t i = 0; i < a.size(); ++i) ESPALIER_CHECK(std::abs(a[i] - b[i]) <= most);
  }
};

}  // namespace espalier
