#include "lib/kernels/sparse_product.h"

#include <doctest/doctest.h>

#include <cstring>

#include "lib/base/error.h"
#include "lib/kernels/simd_target.h"
#include "lib/sparse/pack.h"
#include "tests/lib/kernels/sparse_case.h"

namespace espalier {
namespace {

const std::vector<size_t> kSampleCounts =
    kEmulated ? std::vector<size_t>{1, 3, 8, 9, 33}
              : std::vector<size_t>{1, 2, 3, 5, 8, 9, 16, 33, 48, 64};

struct Case {
  Fold fold;
  double density;
  bool diagonal;
};

const Case kCases[] = {
    {{1, 1, 1}, 1.0, false},     {{1, 16, 64}, 0.3, false},     {{1, 33, 130}, 0.3, false},
    {{3, 20, 20}, 0.4, true},    {{2, 7, 7}, 1.0, true},        {{3, 48, 48}, 0.1, true},
    {{1, 64, 96}, 0.0, false},   {{3, 24, 24}, 0.0, true},      {{4, 5, 31}, 1.0, false},
    {{1, 100, 257}, 0.9, false}, {{1, 32, 66000}, 0.02, false},
};

bool is_slow(const Case& c, size_t n) { return kEmulated && c.fold.cols > 1000 && n > 3; }

// Y by the definition, in double, from the decoded weight.
std::vector<float> naive(const SparseMatrix& matrix, const std::vector<float>& x, Features features,
                         size_t n, const float* bias) {
  const std::vector<float> dense = to_f32(decode(matrix));
  const size_t m = matrix.fold.parts * matrix.fold.rows, k = matrix.fold.cols;
  std::vector<float> y(m * n);
  for (size_t o = 0; o < m; ++o) {
    for (size_t s = 0; s < n; ++s) {
      double sum = bias == nullptr ? 0 : bias[o];
      for (size_t f = 0; f < k; ++f)
        sum += double{dense[o * k + f]} * x[features == Features::kInner ? s * k + f : f * n + s];
      y[features == Features::kInner ? s * m + o : o * n + s] = static_cast<float>(sum);
    }
  }
  return y;
}

// Those that compute with what they are given; int8/int8_product_test.cpp looks at the others.
std::vector<const SparseKernel*> exact_kernels() {
  std::vector<const SparseKernel*> result;
  for (const SparseKernel* kernel : sparse_kernels())
    if (kernel->exact) result.push_back(kernel);
  return result;
}

// Shapes to try a kernel with.
std::vector<BlockShape> shapes_of(const SparseKernel& kernel) {
  if (kernel.block != BlockShape{0, 0}) return {kernel.block};
  if (kernel.name == "any") return {{5, 3}};
  return {{5, 3}, {1, 1}, {4, 8}, {1, 4}, {4, 1}, {3, 16}, {2, 12}};
}

// One kernel, one matrix: both layouts, with and without bias, against the plain kernel.
void check_against_plain(const SparseKernel& kernel, const SparseMatrix& matrix, size_t n,
                         ThreadPool& pool) {
  const size_t m = matrix.fold.parts * matrix.fold.rows, k = matrix.fold.cols;
  const auto product = kernel.prepare(matrix);
  const auto plain = prepare_sparse(matrix, /*plain=*/true);
  const std::vector<float> x = random_values(n * k, 7), bias = random_values(m, 8);
  const float rounding = 2e-7F * static_cast<float>(k) + 1e-6F;  // grows with the length of the sum
  for (const Features features : {Features::kInner, Features::kOuter}) {
    for (const float* b : {static_cast<const float*>(nullptr), bias.data()}) {
      CAPTURE(features == Features::kInner);
      CAPTURE(b != nullptr);
      const std::vector<float> y = run_product(*product, m, x, features, n, b, pool);
      CHECK(max_difference(y, run_product(*plain, m, x, features, n, b, pool)) < rounding);
    }
  }
}

}  // namespace

TEST_CASE("the plain kernel computes the product of the decoded weight") {
  ThreadPool pool(1);
  for (const Case& c : kCases) {
    if (c.fold.cols > 1000) continue;  // the others say it all
    for (const BlockShape block : {BlockShape{5, 3}, BlockShape{1, 1}, BlockShape{16, 4}}) {
      const SparseMatrix matrix = random_sparse(c.fold, block, c.density, c.diagonal);
      const size_t m = c.fold.parts * c.fold.rows;
      const auto plain = prepare_sparse(matrix, /*plain=*/true);
      CHECK(plain->kernel() == "any");
      for (const size_t n : {1, 3, 70}) {
        const std::vector<float> x = random_values(n * c.fold.cols, 3), bias = random_values(m, 4);
        for (const Features features : {Features::kInner, Features::kOuter}) {
          const std::vector<float> expected = naive(matrix, x, features, n, bias.data());
          const std::vector<float> y = run_product(*plain, m, x, features, n, bias.data(), pool);
          CHECK(max_difference(y, expected) < 2e-7F * static_cast<float>(c.fold.cols) + 1e-6F);
        }
      }
    }
  }
}

TEST_CASE("every kernel agrees with the plain one on every instruction set") {
  ThreadPool pool(1);
  for_each_simd_target([&] {
    for (const SparseKernel* kernel : exact_kernels()) {
      for (const Case& c : kCases) {
        for (const BlockShape block : shapes_of(*kernel)) {
          const SparseMatrix matrix = random_sparse(c.fold, block, c.density, c.diagonal);
          for (const size_t n : kSampleCounts) {
            if (is_slow(c, n)) continue;
            CAPTURE(simd_target());
            CAPTURE(kernel->name);
            CAPTURE(to_string(block));
            CAPTURE(c.fold.parts);
            CAPTURE(c.fold.rows);
            CAPTURE(c.fold.cols);
            CAPTURE(n);
            check_against_plain(*kernel, matrix, n, pool);
          }
        }
      }
    }
  });
}

TEST_CASE("one, two and three threads give the same bits") {
  for (const SparseKernel* kernel : exact_kernels()) {
    const Fold fold{3, 400, 400};
    const SparseMatrix matrix =
        random_sparse(fold, shapes_of(*kernel).front(), 0.5, /*diagonal=*/true);
    const auto product = kernel->prepare(matrix);
    for (const size_t n : {1, 7, 12, 40, 130}) {  // from 5 on there is enough work to share
      if (kEmulated && n != 12 && n != 40) continue;
      const std::vector<float> x = random_values(n * fold.cols, 3);
      for (const Features features : {Features::kInner, Features::kOuter}) {
        std::vector<std::vector<float>> results;
        for (const size_t threads : {1, 2, 3}) {
          ThreadPool pool(threads);
          results.push_back(run_product(*product, 1200, x, features, n, nullptr, pool));
        }
        CAPTURE(kernel->name);
        CAPTURE(n);
        CHECK(std::memcmp(results[0].data(), results[1].data(), results[0].size() * 4) == 0);
        CHECK(std::memcmp(results[0].data(), results[2].data(), results[0].size() * 4) == 0);
      }
    }
  }
}

TEST_CASE("absent blocks and padding keep infinities and NaN of x out of y") {
  ThreadPool pool(1);
  for_each_simd_target([&] {
    for (const SparseKernel* kernel : exact_kernels()) {
      const BlockShape block = shapes_of(*kernel).front();
      // Two block rows; the first keeps all blocks but the first, the second only the last one,
      // which sticks out to the right where blocks have several columns.
      const Fold fold{1, block.rows + 1, 4 * size_t{block.cols} + 1};
      SparseMatrix matrix = random_sparse(fold, block, 1.0, /*diagonal=*/false);
      const size_t area = block.area();
      const std::vector<float> all = to_f32(matrix.values);
      matrix.col = {1, 2, 3, 4, 4};
      matrix.row_start = {0, 4, 5};
      std::vector<float> kept(all.begin() + area, all.begin() + 5 * area);
      kept.insert(kept.end(), all.end() - area, all.end());
      matrix.values = Tensor::of<float>({5, block.rows, block.cols}, kept);
      const auto product = kernel->prepare(matrix);
      for (const size_t n : kSampleCounts) {
        for (const Features features : {Features::kInner, Features::kOuter}) {
          CAPTURE(simd_target());
          CAPTURE(kernel->name);
          CAPTURE(n);
          const bool inner = features == Features::kInner;
          std::vector<float> x = random_values(n * fold.cols, 3);
          const auto at = [&](size_t s, size_t f) -> float& {
            return x[inner ? s * fold.cols + f : f * n + s];
          };
          for (size_t s = 0; s < n; ++s) at(s, 0) = s % 2 == 0 ? INFINITY : NAN;  // no block there
          at(n - 1, 2 * block.cols) = INFINITY;  // in the first block row, in the last sample
          const std::vector<float> y =
              run_product(*product, fold.rows, x, features, n, nullptr, pool);
          bool finite = true, infinite = true;
          for (size_t o = 0; o < fold.rows; ++o)
            for (size_t s = 0; s < n; ++s) {
              const float value = y[inner ? s * fold.rows + o : o * n + s];
              if (s == n - 1 && o < block.rows) {
                infinite = infinite && std::isinf(value);
              } else {
                finite = finite && std::isfinite(value);
              }
            }
          CHECK(finite);
          CHECK(infinite);
        }
      }
    }
  });
}

TEST_CASE("kernels compute with narrow values as with the wide ones they stand for") {
  ThreadPool pool(1);
  for_each_simd_target([&] {
    for (const SparseKernel* kernel : exact_kernels()) {
      for (const Case& c : kCases) {
        const BlockShape block = shapes_of(*kernel).front();
        const SparseMatrix wide = random_sparse(c.fold, block, c.density, c.diagonal);
        for (const DType dtype : {DType::kF16, DType::kBF16, DType::kI8}) {
          const SparseMatrix narrow = with_values(wide, dtype);
          for (const size_t n : {1, 3, 8, 12, 33}) {
            if (is_slow(c, n) || (kEmulated && n == 12)) continue;
            CAPTURE(simd_target());
            CAPTURE(kernel->name);
            CAPTURE(name_of(dtype));
            CAPTURE(c.fold.rows);
            CAPTURE(c.fold.cols);
            CAPTURE(n);
            check_against_plain(*kernel, narrow, n, pool);
          }
        }
      }
    }
  });
}

TEST_CASE("the plain kernel computes with narrow values as their decoded weight says") {
  ThreadPool pool(1);
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kI8}) {
    const SparseMatrix narrow = with_values(random_sparse({2, 40, 50}, {16, 1}, 0.4, false), dtype);
    const std::vector<float> x = random_values(50, 3);
    const auto plain = prepare_sparse(narrow, /*plain=*/true);
    const auto y = run_product(*plain, 80, x, Features::kInner, 1, nullptr, pool);
    CHECK(max_difference(y, naive(narrow, x, Features::kInner, 1, nullptr)) < 1e-5F);
  }
}

TEST_CASE("narrow values take as much less memory") {
  const SparseMatrix wide = random_sparse({1, 256, 256}, {16, 4}, 0.5, false);
  const size_t f32 = prepare_sparse(wide)->bytes();
  const size_t values = wide.values.bytes().size();
  CHECK(prepare_sparse(with_values(wide, DType::kF16))->bytes() == f32 - values / 2);
  CHECK(prepare_sparse(with_values(wide, DType::kI8), false, /*exact=*/true)->bytes() ==
        f32 - values / 4 * 3 + 256 * sizeof(float));
}

TEST_CASE("parts are prepared alone") {
  ThreadPool pool(1);
  const SparseMatrix all = random_sparse({4, 24, 24}, {16, 1}, 0.4, /*diagonal=*/true);
  const std::vector<float> x = random_values(3 * 24, 3);
  const auto y = run_product(*prepare_sparse(all), 96, x, Features::kOuter, 3, nullptr, pool);
  const auto part = prepare_sparse_parts(all, 1, 2);
  const auto two = run_product(*part, 48, x, Features::kOuter, 3, nullptr, pool);
  CHECK(two == std::vector<float>(y.begin() + 24 * 3, y.begin() + 72 * 3));
}

TEST_CASE("the exact kernel is picked, else the one for all shapes") {
  const Fold fold{1, 32, 32};
  CHECK(prepare_sparse(random_sparse(fold, {16, 1}, 0.5, false))->kernel() == "16x1");
  CHECK(prepare_sparse(random_sparse(fold, {16, 4}, 0.5, false))->kernel() == "16x4");
  CHECK(prepare_sparse(random_sparse(fold, {8, 1}, 0.5, false))->kernel() == "8x1");
  CHECK(prepare_sparse(random_sparse(fold, {5, 3}, 0.5, false))->kernel() == "rows");
  CHECK(prepare_sparse(random_sparse(fold, {16, 1}, 0.5, false), true)->kernel() == "any");
  const auto product = prepare_sparse(random_sparse(fold, {16, 1}, 1.0, false));
  // values, columns, starts and places of rows
  CHECK(product->bytes() == 32 * 32 * 4 + 64 * 2 + 3 * 4 + 2 * 3 * sizeof(size_t));
}

TEST_CASE("instruction sets are chosen by name") {
  const std::vector<std::string> names = simd_targets();
  REQUIRE(!names.empty());
  for (const std::string& name : names) {
    set_simd_target(name);
    CHECK(simd_target() == name);
  }
  set_simd_target(names.front());
  CHECK_THROWS_AS(set_simd_target("MMX"), Error);
  CHECK(simd_target() == names.front());
}

}  // namespace espalier
