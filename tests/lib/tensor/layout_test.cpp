#include "lib/tensor/layout.h"

#include <doctest/doctest.h>

#include <numeric>

using namespace espalier;

namespace {

Tensor counted(Shape shape) {
  std::vector<float> values(element_count(shape));
  std::iota(values.begin(), values.end(), 0.0F);
  return Tensor::of<float>(std::move(shape), values);
}

std::vector<float> values_of(const Tensor& tensor) { return to_f32(tensor); }

}  // namespace

TEST_CASE("the axis of outputs follows from shape and fold, whatever the operator") {
  CHECK(outputs_axis({40, 70}, {1, 70, 40, true}) == 1);      // MatMul
  CHECK(outputs_axis({70, 40}, {1, 70, 40, false}) == 0);     // Gemm with transB
  CHECK(outputs_axis({5, 40, 70}, {5, 70, 40, true}) == 2);   // MatMul, a part for each matrix
  CHECK(outputs_axis({8, 3, 5, 5}, {2, 4, 75, false}) == 0);  // Conv of two groups
  CHECK(outputs_axis({8, 3, 5, 5}, {2, 75, 4, true}) == 1);   // ConvTranspose of two groups
  CHECK(outputs_axis({2, 72, 33}, {6, 24, 33, false}) == 1);  // GRU in two directions
}

TEST_CASE("axes are exchanged, between others too, and twice is nothing") {
  const Tensor tensor = counted({2, 3, 4, 2});
  for (const auto& [a, b] : {std::pair<size_t, size_t>{0, 1}, {1, 2}, {0, 3}, {1, 1}, {3, 1}}) {
    const Tensor once = with_axes_exchanged(tensor, a, b);
    CHECK(same_bits(with_axes_exchanged(once, a, b), tensor));
    Shape shape = tensor.shape();
    std::swap(shape[a], shape[b]);
    CHECK(once.shape() == shape);
  }
  CHECK(values_of(with_axes_exchanged(counted({2, 3}), 0, 1)) ==
        std::vector<float>{0, 3, 1, 4, 2, 5});
}

TEST_CASE("a tensor is laid out by its axis of outputs; extents decide where that is not known") {
  const Tensor matrix = counted({2, 3}), square = counted({2, 2});
  const std::vector<float> turned{0, 3, 1, 4, 2, 5};
  CHECK(values_of(*laid_out(matrix, 0, {3, 2}, 1)) == turned);
  CHECK(values_of(*laid_out(matrix, 0, {1, 3, 2}, 2)) == turned);
  CHECK(values_of(*laid_out(matrix, {}, {3, 2}, 1)) == turned);
  CHECK(same_bits(*laid_out(matrix, {}, {2, 3}, {}), matrix));
  CHECK(values_of(*laid_out(square, 0, {2, 2}, 1)) == std::vector<float>{0, 2, 1, 3});
  CHECK(same_bits(*laid_out(square, 0, {2, 2}, 0), square));
  CHECK(same_bits(*laid_out(square, {}, {2, 2}, 1), square));
  CHECK(laid_out(counted({4, 1}), 0, {1, 4}, 1)->shape() == Shape{1, 4});
  CHECK_FALSE(laid_out(matrix, 0, {3, 2}, 0).has_value());
  CHECK_FALSE(laid_out(matrix, 0, {3, 3}, 1).has_value());
  CHECK_FALSE(laid_out(counted({2, 3, 4}), {}, {3, 2, 4}, {}).has_value());
  CHECK_FALSE(laid_out(Tensor::zeros(DType::kI4, {2, 4}), 0, {4, 2}, 1).has_value());
}
