// Blocks of 1x1 by a bitmap, and by inputs one by one, against the plain kernel.
#include <doctest/doctest.h>

#include <limits>

#include "lib/kernels/simd_target.h"
#include "lib/kernels/sparse/rows_task.h"
#include "lib/kernels/sparse_product.h"
#include "lib/sparse/pack.h"
#include "tests/lib/kernels/sparse_case.h"

namespace espalier {
namespace {

constexpr DType kTypes[] = {DType::kF32, DType::kF16, DType::kBF16, DType::kI8};

void check_against_plain(const SparseMatrix& matrix, const std::vector<float>& x, size_t n,
                         ThreadPool& pool, float rounding) {
  const size_t m = matrix.fold.parts * matrix.fold.rows;
  const auto product = prepare_sparse(matrix);
  REQUIRE(product->kernel() == "rows");
  const auto plain = prepare_sparse(matrix, /*plain=*/true);
  const std::vector<float> bias = random_values(m, 8);
  for (const Features features : {Features::kInner, Features::kOuter}) {
    for (const float* b : {static_cast<const float*>(nullptr), bias.data()}) {
      const std::vector<float> y = run_product(*product, m, x, features, n, b, pool);
      CHECK(max_difference(y, run_product(*plain, m, x, features, n, b, pool)) < rounding);
    }
  }
}

}  // namespace

TEST_CASE("1x1 of any density, type and ragged shape is what the plain kernel computes") {
  ThreadPool pool(1);
  const Fold folds[] = {{1, 1, 1},   {1, 3, 7},    {2, 5, 63},  {1, 9, 64},
                        {3, 13, 65}, {1, 17, 128}, {2, 31, 200}};
  for_each_simd_target([&] {
    for (const Fold& fold : folds) {
      for (const double density : {0.0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0}) {
        const bool diagonal = fold.rows == fold.cols;
        const SparseMatrix wide = random_sparse(fold, {1, 1}, density, diagonal);
        for (const DType dtype : kTypes) {
          for (const size_t n : {1, 2, 3, 4, 5, 7}) {
            if (kEmulated && n % 2 == 0) continue;
            CAPTURE(simd_target());
            CAPTURE(fold.cols);
            CAPTURE(density);
            CAPTURE(name_of(dtype));
            CAPTURE(n);
            check_against_plain(with_values(wide, dtype), random_values(n * fold.cols, 7), n, pool,
                                2e-7F * static_cast<float>(fold.cols) + 1e-6F);
          }
        }
      }
    }
  });
}

TEST_CASE("a diagonal beside 1x1 counts, whatever loop runs") {
  ThreadPool pool(1);
  for_each_simd_target([&] {
    for (const double density : {0.05, 0.6}) {
      const SparseMatrix matrix = random_sparse({3, 21, 21}, {1, 1}, density, /*diagonal=*/true);
      for (const size_t n : {1, 3})
        check_against_plain(matrix, random_values(n * 21, 7), n, pool, 1e-5F);
    }
  });
}

TEST_CASE("NaN, infinities and huge inputs reach those outputs alone that have a value there") {
  ThreadPool pool(1);
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const float kSpecial[] = {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN(), 3e38F,
                            0x1p100F};
  for_each_simd_target([&] {
    for (const double density : {0.1, 0.5, 0.95}) {
      const SparseMatrix wide = random_sparse({1, 40, 100}, {1, 1}, density, /*diagonal=*/false);
      for (const DType dtype : kTypes) {
        const SparseMatrix matrix = with_values(wide, dtype);
        for (const float special : kSpecial) {
          for (const size_t n : {1, 4}) {
            std::vector<float> x(n * 100, 0.0F);
            x[37] = special;
            CAPTURE(simd_target());
            CAPTURE(special);
            CAPTURE(density);
            const float rounding = std::isfinite(special) ? special * 1e-6F : 1e-6F;
            check_against_plain(matrix, x, n, pool, rounding);
          }
        }
      }
    }
  });
}

TEST_CASE("NaN and infinities of the weight reach their own outputs") {
  ThreadPool pool(1);
  for_each_simd_target([&] {
    for (const float special : {INFINITY, -INFINITY, std::nanf("")}) {
      SparseMatrix matrix = random_sparse({1, 10, 70}, {1, 1}, 0.5, /*diagonal=*/false);
      std::vector<float> values = to_f32(matrix.values);
      values[values.size() / 2] = special;
      matrix.values = Tensor::of<float>(matrix.values.shape(), values);
      for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16})
        check_against_plain(with_values(matrix, dtype), random_values(3 * 70, 7), 3, pool, 2e-5F);
    }
  });
}

TEST_CASE("are_small() sees NaN, infinities and what is large, wherever it is") {
  for_each_simd_target([&] {
    std::vector<float> x(128, -0x1.fffffep99F);
    CHECK(are_small(x.data(), x.size()));
    CHECK(are_small(x.data(), 0));
    for (const float special : {INFINITY, -INFINITY, std::nanf(""), -std::nanf(""), 0x1p100F}) {
      for (const size_t place : {0, 5, 17, 63, 64, 127}) {
        const float before = std::exchange(x[place], special);
        CHECK_FALSE(are_small(x.data(), x.size()));
        x[place] = before;
      }
    }
  });
}

TEST_CASE(
    "bits are for 1x1 that is not rare, from fewer values on where they are narrow or the sample "
    "is one") {
  const auto weight = [](BlockShape block, double density) {
    return random_sparse({1, 64, 256}, block, density, /*diagonal=*/false);
  };
  const SparseMatrix fewer = weight({1, 1}, 0.35);
  for_each_simd_target([&] {
    for (const size_t n : {size_t{1}, kMostBits}) {
      CHECK(rows_use_bits(weight({1, 1}, 0.6), n));
      CHECK(rows_use_bits(with_values(fewer, DType::kI8), n));
      CHECK_FALSE(rows_use_bits(weight({1, 1}, 0.05), n));
      CHECK_FALSE(rows_use_bits(weight({1, 4}, 0.6), n));
    }
    CHECK_FALSE(rows_use_bits(fewer, kMostBits));
    CHECK_FALSE(rows_use_bits(weight({1, 1}, 0.6), kMostBits + 1));
    CHECK(least_bits_density(1, false) <= least_bits_density(kMostBits, false));
  });
}

}  // namespace espalier
