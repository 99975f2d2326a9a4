#include "lib/kernels/dense/symmetric_panels.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tests/lib/kernels/sparse_case.h"

namespace espalier {
namespace {

// The same in f64, element by element.
struct Naive {
  size_t side;
  std::vector<double> a;

  void subtract(const std::vector<double>& v) {
    for (size_t i = 0; i < side; ++i)
      for (size_t j = 0; j < side; ++j) a[i * side + j] -= v[i] * v[j];
  }
};

template <typename T>
std::vector<T> random_vector(size_t count, uint32_t seed) {
  const std::vector<float> values = random_values(count, seed);
  return {values.begin(), values.end()};
}

template <typename T>
double difference(const SymmetricPanels<T>& panels, const Naive& naive) {
  double worst = 0;
  std::vector<T> column(naive.side + SymmetricPanels<T>::kWidth);
  for (size_t j = 0; j < panels.side(); ++j) {
    panels.read(j, column.data());
    for (size_t i = 0; i < panels.side(); ++i)
      worst =
          std::max(worst, std::abs(static_cast<double>(column[i]) - naive.a[i * naive.side + j]));
  }
  return worst;
}

template <typename T>
void check_side(size_t side) {
  const double rounding = (sizeof(T) == 4 ? 1e-6 : 1e-15) * 200;  // sums of up to 150 products
  SymmetricPanels<T> panels(side), on_threads(side);
  Naive naive{side, std::vector<double>(side * side)};
  std::vector<T> column(side);
  for (size_t j = 0; j < side; ++j) {
    for (size_t i = 0; i < side; ++i) {
      naive.a[i * side + j] = static_cast<double>((i + j) % 7);
      column[i] = static_cast<T>((i + j) % 7);
    }
    panels.write(j, column.data());
    on_threads.write(j, column.data());
  }
  CHECK(difference(panels, naive) == 0);
  ThreadPool pool(3);
  for (uint32_t k = 0; k < 150; ++k) {  // some of them wait at the end
    const std::vector<T> v = random_vector<T>(side, k);
    if (panels.waiting() == SymmetricPanels<T>::kWaiting) {
      panels.flush();
      on_threads.flush(0, &pool);
    }
    panels.subtract(v.data());
    on_threads.subtract(v.data());
    naive.subtract({v.begin(), v.end()});
  }
  CHECK(panels.waiting() == 22);
  CHECK(difference(panels, naive) < rounding);
  panels.flush();
  on_threads.flush(0, &pool);
  CHECK(difference(panels, naive) < rounding);
  for (size_t j = 0; j < side; ++j) {
    std::vector<T> one(side), other(side);
    panels.read_stored(j, one.data());
    on_threads.read_stored(j, other.data());
    CHECK(one == other);
  }
  panels.cut(side / 2);
  CHECK(difference(panels, naive) < rounding);
}

// Sides around a panel's width, and of many panels.
template <typename T>
void check_type() {
  for_each_simd_target([] {
    for (const size_t side : {1, 7, 8, 16, 17, 100}) {
      CAPTURE(side);
      check_side<T>(side);
    }
  });
}

template <typename T>
void check_rows(double rounding) {
  constexpr size_t kCols = 21, kStride = 32;
  for (const size_t rows : {1, 2, 5}) {
    const auto share = random_vector<T>(rows, 1), v = random_vector<T>(kStride, 2);
    std::vector<T> w = random_vector<T>(rows * kStride, 3), plain = w;
    std::vector<T> diagonal(kStride, T{3}), bar(kStride, T{0}), loss(kStride);
    bar[4] = INFINITY;
    diagonal[5] = 0;  // counts as the smallest number
    for (size_t i = kCols; i < kStride; ++i) bar[i] = INFINITY;
    const std::vector<T> before = w;
    subtract_outer(plain.data(), rows, kStride, kCols, share.data(), v.data());
    const T lowest = make_up(w.data(), rows, kStride, kCols, share.data(), v.data(),
                             diagonal.data(), bar.data(), loss.data());
    CHECK(w == plain);
    double least = INFINITY;
    for (size_t j = 0; j < kCols; ++j) {
      double sum = 0;
      for (size_t r = 0; r < rows; ++r) {
        const double expected = double{before[r * kStride + j]} - double{share[r]} * v[j];
        CHECK(std::abs(w[r * kStride + j] - expected) < rounding);
        sum += expected * expected;
      }
      if (j == 4 || j == 5) {
        CHECK(loss[j] > 1e6);
        continue;
      }
      CHECK(loss[j] == doctest::Approx(sum / (3 - double{v[j]} * v[j])).epsilon(10 * rounding));
      least = std::min(least, static_cast<double>(loss[j]));
    }
    CHECK(lowest == static_cast<T>(least));
  }
}

}  // namespace

TEST_CASE("a symmetric matrix in panels is what element by element subtraction leaves") {
  check_type<float>();
  check_type<double>();
}

TEST_CASE("rows make up for a column, and the losses are those of the rows that are left") {
  for_each_simd_target([] {
    check_rows<float>(1e-6);
    check_rows<double>(1e-14);
  });
}

}  // namespace espalier
