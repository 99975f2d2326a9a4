#include "lib/prune/score/statistics.h"

#include <doctest/doctest.h>

namespace espalier {
namespace {

Tensor symmetric(int64_t side) {
  Tensor result = Tensor::zeros(DType::kF64, {side, side});
  const auto to = result.mutable_data<double>();
  const auto size = static_cast<size_t>(side);
  for (size_t i = 0; i < size; ++i) {
    for (size_t j = 0; j <= i; ++j)
      to[i * size + j] = to[j * size + i] = static_cast<double>(i * 1000 + j) / 7;
  }
  return result;
}

TEST_CASE("half of a large symmetric matrix stays, and is the same matrix each time") {
  const Tensor large = symmetric(363), kept = half_kept(large);
  CHECK(kept.is_deferred());
  CHECK(kept.byte_size() == large.byte_size());
  CHECK(same_bits(kept, large));
  kept.give_back();
  CHECK(same_bits(kept, large));
  const Tensor small = symmetric(5);
  CHECK_FALSE(half_kept(small).is_deferred());
  CHECK(same_bits(half_kept(small), small));
}

TEST_CASE("merged moments of large layers are halves, too, of the same numbers") {
  const Tensor second = symmetric(363), mean = Tensor::zeros(DType::kF64, {363});
  const Statistics whole{{{"w", 1, {{0, 1, 10, second, mean}}}}};
  const Statistics half{{{"w", 1, {{0, 1, 10, half_kept(second), mean}}}}};
  const Statistics a = merged(whole, whole), b = merged(half, half);
  CHECK(a.layers[0].inputs[0].samples == 20);
  CHECK(a.layers[0].inputs[0].second.is_deferred());
  CHECK(same_bits(a.layers[0].inputs[0].second, b.layers[0].inputs[0].second));
  CHECK(same_bits(a.layers[0].inputs[0].second, second));
}

}  // namespace
}  // namespace espalier
