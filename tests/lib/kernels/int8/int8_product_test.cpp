#include "lib/kernels/int8/int8_product.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

#include "lib/kernels/int8/dot_instructions.h"
#include "lib/kernels/simd_target.h"
#include "lib/sparse/pack.h"
#include "tests/lib/kernels/sparse_case.h"

namespace espalier {
namespace {

constexpr BlockShape kShapes[] = {{16, 4}, {8, 4}, {16, 1}, {8, 1}, {4, 8}, {1, 4}};
const std::vector<size_t> kSampleCounts =
    kEmulated ? std::vector<size_t>{1, 4, 8, 33} : std::vector<size_t>{1, 2, 3, 4, 5, 8, 9, 16, 33};

struct Case {
  Fold fold;
  double density;
  bool diagonal;
};

const Case kCases[] = {
    {{1, 1, 1}, 1.0, false},   {{1, 16, 64}, 0.5, false}, {{1, 33, 130}, 0.1, false},
    {{3, 20, 20}, 0.5, true},  {{2, 7, 7}, 1.0, true},    {{3, 48, 48}, 0.1, true},
    {{1, 64, 96}, 0.0, false}, {{3, 24, 24}, 0.0, true},  {{1, 200, 515}, 1e-3, false},
    {{1, 100, 257}, 1, false},
};

// Features of samples as X of either layout.
size_t place(Features features, size_t s, size_t f, size_t n, size_t count) {
  return features == Features::kInner ? s * count + f : f * n + s;
}

// Calls body() on every instruction set, with and without dot instructions.
template <class Body>
void for_each_way(const Body& body) {
  for_each_simd_target([&] {
    for (const bool dot : {false, true}) {
      set_dot_instructions(dot);
      if (dot_instructions() == dot) body();
    }
  });
}

// What the header promises for each output, in double from the decoded weight; how many fail.
size_t beyond_bound(const SparseMatrix& matrix, const std::vector<float>& x, Features features,
                    size_t n, const float* bias, const std::vector<float>& y) {
  SparseMatrix blocks = matrix;
  blocks.diagonal = {};
  const std::vector<float> dense = to_f32(decode(blocks));
  const std::vector<float> diagonal =
      matrix.has_diagonal() ? to_f32(matrix.diagonal) : std::vector<float>();
  const size_t m = matrix.fold.parts * matrix.fold.rows, k = matrix.fold.cols;
  size_t wrong = 0;
  for (size_t s = 0; s < n; ++s) {
    double most = 0;
    for (size_t f = 0; f < k; ++f)
      most = std::max(most, std::fabs(double{x[place(features, s, f, n, k)]}));
    for (size_t o = 0; o < m; ++o) {
      double exact = 0, weights = 0, rest = 0;
      for (size_t f = 0; f < k; ++f) {
        exact += double{dense[o * k + f]} * x[place(features, s, f, n, k)];
        weights += std::fabs(dense[o * k + f]);
      }
      double parts = std::fabs(exact);
      if (!diagonal.empty())
        rest += double{diagonal[o]} * x[place(features, s, o % matrix.fold.rows, n, k)];
      parts += std::fabs(rest);
      if (bias != nullptr) rest += bias[o], parts += std::fabs(bias[o]);
      const double bound =
          most / 127 * (0.5 + std::ldexp(1, -12)) * weights + std::ldexp(parts, -21);
      const double got = y[place(features, s, o, n, m)];
      if (!(std::fabs(got - exact - rest) <= bound)) ++wrong;
    }
  }
  return wrong;
}

// Values of -128 and 127 in every block, as a file may hold them.
void to_extremes(SparseMatrix& matrix) {
  const auto values = matrix.values.mutable_data<int8_t>();
  for (size_t i = 0; i < values.size(); ++i)
    if (values[i] != 0) values[i] = i % 3 == 0 ? 127 : -128;
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

TEST_CASE("int8 products keep the documented bound and are the same on every instruction set") {
  ThreadPool pool(1);
  for (const Case& c : kCases) {
    for (const BlockShape block : kShapes) {
      for (const bool extreme : {false, true}) {
        SparseMatrix matrix =
            with_values(random_sparse(c.fold, block, c.density, c.diagonal), DType::kI8);
        if (extreme) to_extremes(matrix);
        REQUIRE(takes_int8(matrix));
        const size_t m = c.fold.parts * c.fold.rows;
        const auto product = prepare_int8(matrix);
        const std::vector<float> bias = random_values(m, 8);
        for (const size_t n : kSampleCounts) {
          std::vector<float> x = random_values(n * c.fold.cols, 7);
          if (extreme)
            for (float& value : x) value = value < 0 ? -3.0F : 3.0F;
          for (const Features features : {Features::kInner, Features::kOuter}) {
            for (const float* b : {static_cast<const float*>(nullptr), bias.data()}) {
              std::vector<float> first;
              for_each_way([&] {
                CAPTURE(simd_target());
                CAPTURE(dot_instructions());
                CAPTURE(to_string(block));
                CAPTURE(c.fold.rows);
                CAPTURE(c.fold.cols);
                CAPTURE(n);
                CAPTURE(features == Features::kInner);
                const auto y = run_product(*product, m, x, features, n, b, pool);
                if (first.empty()) CHECK(beyond_bound(matrix, x, features, n, b, y) == 0);
                // Few samples of small blocks are products of f32, which round as they like.
                const bool widened = block.rows < 8 && n < 9;
                if (first.empty()) first = y;
                if (widened) {
                  CHECK(beyond_bound(matrix, x, features, n, b, y) == 0);
                } else {
                  CHECK(same(y, first));
                }
              });
            }
          }
        }
      }
    }
  }
}

TEST_CASE("samples that cannot be rounded are multiplied in f32, the others as if alone") {
  ThreadPool pool(1);
  for (const BlockShape block : kShapes) {
    const Fold fold{1, 40, 66};
    const SparseMatrix matrix = with_values(random_sparse(fold, block, 0.4, false), DType::kI8);
    const auto product = prepare_int8(matrix);
    const auto plain = prepare_sparse(matrix, /*plain=*/true);
    for (const size_t n : {1, 3, 9, 20}) {
      for (const Features features : {Features::kInner, Features::kOuter}) {
        for (const float bad : {INFINITY, -INFINITY, NAN, 0x1p-110F}) {
          std::vector<float> x = random_values(n * 66, 3);
          const std::vector<float> good = x;
          const size_t last = n - 1;
          if (std::isfinite(bad)) {
            for (size_t f = 0; f < 66; ++f) x[place(features, last, f, n, 66)] = bad;
          } else {
            x[place(features, last, 5, n, 66)] = bad;
          }
          for_each_way([&] {
            CAPTURE(simd_target());
            CAPTURE(to_string(block));
            CAPTURE(n);
            CAPTURE(bad);
            const auto y = run_product(*product, 40, x, features, n, nullptr, pool);
            const auto exact = run_product(*plain, 40, x, features, n, nullptr, pool);
            const auto alone = run_product(*product, 40, good, features, n, nullptr, pool);
            for (size_t o = 0; o < 40; ++o) {
              const float got = y[place(features, last, o, n, 40)];
              const float wanted = exact[place(features, last, o, n, 40)];
              if (std::isnan(wanted)) {
                CHECK(std::isnan(got));
              } else if (std::isinf(wanted)) {
                CHECK(got == wanted);
              } else {
                CHECK(std::fabs(got - wanted) <= 1e-5F * (std::isfinite(bad) ? 66 * bad : 1.0F));
              }
              for (size_t s = 0; s < last; ++s)
                CHECK(y[place(features, s, o, n, 40)] == alone[place(features, s, o, n, 40)]);
            }
          });
        }
      }
    }
  }
}

TEST_CASE("samples of zeros give the bias") {
  ThreadPool pool(1);
  for (const BlockShape block : kShapes) {
    const auto product =
        prepare_int8(with_values(random_sparse({1, 24, 40}, block, 1.0, false), DType::kI8));
    const std::vector<float> x(12 * 40, 0.0F), bias = random_values(24, 2);
    const auto y = run_product(*product, 24, x, Features::kOuter, 12, bias.data(), pool);
    for (size_t o = 0; o < 24; ++o)
      for (size_t s = 0; s < 12; ++s) CHECK(y[o * 12 + s] == bias[o]);
  }
}

TEST_CASE("the longest sums do not overflow") {
  ThreadPool pool(1);
  SparseMatrix matrix = with_values(random_sparse({1, 16, 65536}, {16, 4}, 1.0, false), DType::kI8);
  for (int8_t& value : matrix.values.mutable_data<int8_t>()) value = -128;
  const auto product = prepare_int8(matrix);
  const std::vector<float> x(9 * 65536, 1.0F), scale = to_f32(matrix.scale);
  for (const size_t n : {1, 9}) {
    for_each_way([&] {
      const auto y =
          run_product(*product, 16, {x.begin(), x.begin() + static_cast<long>(n) * 65536},
                      Features::kOuter, n, nullptr, pool);
      for (size_t o = 0; o < 16; ++o)
        CHECK(y[o * n] == doctest::Approx(-128.0 * 65536 * scale[o]).epsilon(1e-6));
    });
  }
  CHECK(!takes_int8(with_values(random_sparse({1, 16, 65537}, {16, 4}, 0.1, false), DType::kI8)));
}

TEST_CASE("int8 products give the same bits on one, two and three threads") {
  for (const BlockShape block : kShapes) {
    const auto product =
        prepare_int8(with_values(random_sparse({3, 400, 400}, block, 0.5, true), DType::kI8));
    for (const size_t n : {1, 7, 12, 40, 130}) {
      if (kEmulated && n != 12 && n != 40) continue;
      const std::vector<float> x = random_values(n * 400, 3);
      for (const Features features : {Features::kInner, Features::kOuter}) {
        std::vector<std::vector<float>> results;
        for (const size_t threads : {1, 2, 3}) {
          ThreadPool pool(threads);
          results.push_back(run_product(*product, 1200, x, features, n, nullptr, pool));
        }
        CHECK(same(results[0], results[1]));
        CHECK(same(results[0], results[2]));
      }
    }
  }
}

TEST_CASE("i8 values are multiplied in 8 bits unless exact sums are asked for") {
  const SparseMatrix i8 = with_values(random_sparse({1, 32, 32}, {16, 1}, 0.5, false), DType::kI8);
  CHECK(prepare_sparse(i8)->kernel() == "int8");
  CHECK(prepare_sparse(i8, false, /*exact=*/true)->kernel() == "16x1");
  CHECK(prepare_sparse(i8, /*plain=*/true)->kernel() == "any");
  CHECK(prepare_sparse(with_values(random_sparse({1, 32, 32}, {5, 3}, 0.5, false), DType::kI8))
            ->kernel() == "rows");
}

}  // namespace espalier
