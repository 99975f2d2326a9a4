#include "lib/kernels/sparse/packed_or_dense.h"

#include <doctest/doctest.h>

#include "tests/lib/kernels/sparse_case.h"

namespace espalier {
namespace {

SparseMatrix sparse(BlockShape block, double density) {
  return random_sparse({1, 256, 256}, block, density, /*diagonal=*/false);
}

}  // namespace

TEST_CASE("packed is chosen where it was measured to be quicker") {
  for (const size_t n : {1, 4, 64}) {
    CAPTURE(n);
    CHECK(packed_is_quicker(sparse({16, 1}, 0.1), n));
    CHECK(packed_is_quicker(sparse({8, 4}, 0.4), n));
    CHECK_FALSE(packed_is_quicker(sparse({1, 1}, 0.6), n));
  }
  CHECK_FALSE(packed_is_quicker(sparse({1, 1}, 0.2), 1));  // 1.2x at 90 % zeros
  CHECK(packed_is_quicker(sparse({1, 1}, 0.2), 64));       // 5x at 90 % zeros
}

TEST_CASE("a convolution is packed where moving what it multiplies does not cost what it saves") {
  const ConvShape shape{.channels_in = 64,
                        .channels_out = 64,
                        .kernel = {3, 3},
                        .pad_begin = {1, 1},
                        .pad_end = {1, 1}};
  const auto filter = [](double density) {
    return random_sparse({1, 64, 576}, {16, 1}, density, /*diagonal=*/false);
  };
  CHECK(packed_is_quicker(filter(0.1), shape, 1, 16, 16));
  CHECK_FALSE(packed_is_quicker(filter(0.9), shape, 1, 16, 16));
  const SparseMatrix few = random_sparse({1, 16, 576}, {16, 1}, 0.65, /*diagonal=*/false);
  ConvShape first = shape;
  first.channels_out = 16;
  CHECK(packed_is_quicker(few, first, 1, 16, 16));
  first.stride = {16, 16};  // of what is laid out, a window alone is multiplied
  CHECK_FALSE(packed_is_quicker(few, first, 1, 16, 16));
}

TEST_CASE(
    "a measurement is asked once for each number of samples, and the table where it knows "
    "nothing") {
  ThreadPool pool(1);
  const SparseMatrix weight = sparse({16, 1}, 0.1);  // packed by the table
  size_t asked = 0;
  const MeasuredChoice measured = [&](const SparseMatrix&, size_t n) -> std::optional<bool> {
    ++asked;
    return n == 4 ? std::optional(false) : std::nullopt;
  };
  const auto flag = std::make_shared<bool>(false);
  const auto product = packed_or_dense(prepare_sparse(weight), weight, flag, measured);
  for (const size_t n : {1, 1, 4, 4, 1}) {
    const std::vector<float> x = random_values(n * 256, 3);
    run_product(*product, 256, x, Features::kInner, n, nullptr, pool);
    CHECK((product->kernel() == "dense") == (n == 4));
  }
  CHECK(asked == 3);
  CHECK(*flag);
}

TEST_CASE("whichever way it runs, the product is that of the weight, and the flag says so") {
  ThreadPool pool(1);
  const SparseMatrix weight = random_sparse({2, 40, 96}, {1, 1}, 0.2, /*diagonal=*/false);
  const auto plain = prepare_sparse(weight, /*plain=*/true);
  for (const size_t n : {64, 1, 64}) {  // the dense weight is made at the second
    const auto flag = std::make_shared<bool>(false);
    const auto product = packed_or_dense(prepare_sparse(weight), weight, flag);
    const std::vector<float> x = random_values(n * 96, 3), bias = random_values(80, 4);
    const size_t before = product->bytes();
    const auto y = run_product(*product, 80, x, Features::kInner, n, bias.data(), pool);
    const auto expected = run_product(*plain, 80, x, Features::kInner, n, bias.data(), pool);
    CHECK(max_difference(y, expected) < 2e-5F);
    CHECK(*flag == (n == 1));
    CHECK(product->kernel() == (n == 1 ? "dense" : "rows"));
    CHECK((product->bytes() > before) == (n == 1));
  }
}

}  // namespace espalier
