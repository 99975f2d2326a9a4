#include "lib/kernels/elementwise/elementwise.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "lib/kernels/simd_target.h"
#include "tests/lib/kernels/sparse_case.h"

namespace espalier {
namespace {

constexpr float kInfinity = INFINITY;

// All magnitudes and both signs, and every place where a function changes its behaviour.
std::vector<float> arguments() {
  std::vector<float> x = {0.0F, -0.0F, 1.0F, -1.0F, 88.7F, -87.3F, 9.0F, -9.0F, 0.5F, 20.0F};
  for (float value = 1e-30F; value < 1e30F; value *= 1.37F) {
    x.push_back(value);
    x.push_back(-value);
  }
  for (float value = -100.0F; value < 100.0F; value += 0.0137F) x.push_back(value);
  return x;
}

#if defined(__arm__)
constexpr double kRelative = 1e-6;  // armv7 divides by an approximated reciprocal
#else
constexpr double kRelative = 3e-7;
#endif

template <class F>
void check_accuracy(void (*function)(std::span<const float>, std::span<float>), const F& exact,
                    double relative = kRelative) {
  const std::vector<float> x = arguments();
  std::vector<float> y(x.size());
  function(x, y);
  size_t wrong = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double expected = exact(double{x[i]});
    if (expected > 3.4028235e38 && std::isinf(y[i])) continue;
    const double error = std::fabs(y[i] - expected);
    if (error <= relative * std::fabs(expected) || error <= 3e-38) continue;
    CAPTURE(x[i]);
    CAPTURE(y[i]);
    if (++wrong < 10) CHECK(error == 0.0);
  }
  CHECK(wrong == 0);
}

float one(void (*function)(std::span<const float>, std::span<float>), float x) {
  float y = 0;
  function({&x, 1}, {&y, 1});
  return y;
}

}  // namespace

TEST_CASE("exp, sigmoid, tanh and erf are right to three units of the last place") {
  for_each_simd_target([] {
    CAPTURE(simd_target());
    check_accuracy(exp, [](double x) { return std::exp(x); });
    check_accuracy(sigmoid, [](double x) { return 1.0 / (1.0 + std::exp(-x)); });
    check_accuracy(tanh, [](double x) { return std::tanh(x); });
    check_accuracy(
        erf, [](double x) { return std::erf(x); }, 3e-7);
  });
}

TEST_CASE("sums of exponentials and of squares, and normalized rows, of any length") {
  for_each_simd_target([] {
    CAPTURE(simd_target());
    for (const size_t count : {1, 3, 8, 15, 16, 17, 64, 100, 129}) {
      CAPTURE(count);
      std::vector<float> x(count), y(count), scale(count), bias(count);
      for (size_t i = 0; i < count; ++i) {
        x[i] = std::sin(static_cast<float>(i)) * 3;
        scale[i] = 1 + 0.01F * static_cast<float>(i);
        bias[i] = 0.1F * static_cast<float>(i);
      }
      double exps = 0, squares = 0;
      for (const float value : x) {
        exps += std::exp(double{value} - 2.5);
        squares += (double{value} - 0.75) * (double{value} - 0.75);
      }
      CHECK(exp_sum(x, 2.5F, y) == doctest::Approx(exps).epsilon(2e-6));
      for (size_t i = 0; i < count; ++i)
        CHECK(y[i] == doctest::Approx(std::exp(double{x[i]} - 2.5)).epsilon(2e-6));
      CHECK(squares_around(x, 0.75F) == doctest::Approx(squares).epsilon(2e-6));
      normalize(x, 0.5F, 2.0F, scale, bias, y);
      for (size_t i = 0; i < count; ++i) {
        const double expected = (double{x[i]} - 0.5) * 2 * scale[i] + bias[i];
        CHECK(std::fabs(y[i] - expected) < 2e-6 * (1 + std::fabs(expected)));
      }
      x[count / 2] = NAN;
      CHECK(std::isnan(exp_sum(x, 0, y)));
      CHECK(std::isnan(squares_around(x, 0)));
    }
  });
}

TEST_CASE("activations are right to rounding, keep NaN, and meet their limits") {
  for_each_simd_target([] {
    CAPTURE(simd_target());
    const std::vector<float> x = arguments();
    const auto check = [&](const char* name, const auto& function, const auto& exact) {
      CAPTURE(name);
      std::vector<float> y(x.size());
      function(std::span<const float>(x), std::span<float>(y));
      size_t wrong = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        const double expected = exact(double{x[i]});
        // 1 + erf and the like cancel: the error is that of the larger term.
        const double error = std::fabs(y[i] - expected);
        const double allowed = 3e-7 * std::max(std::fabs(expected), std::fabs(double{x[i]})) + 1e-7;
        if (std::isinf(y[i]) && std::fabs(expected) > 1e38) continue;
        if (!(error <= allowed) && ++wrong < 10) {
          CAPTURE(x[i]);
          CHECK(y[i] == expected);
        }
      }
      CHECK(wrong == 0);
      const float nan = NAN;
      float out = 0;
      function(std::span(&nan, 1), std::span(&out, 1));
      CHECK(std::isnan(out));
    };
    using In = std::span<const float>;
    using Out = std::span<float>;
    const auto sigmoid_of = [](double v) { return 1 / (1 + std::exp(-v)); };
    check(
        "gelu", [](In a, Out b) { gelu(a, b); },
        [](double v) { return v / 2 * (1 + std::erf(v / std::sqrt(2.0))); });
    check(
        "gelu_tanh", [](In a, Out b) { gelu_tanh(a, b); },
        [](double v) {
          return v / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)));
        });
    check(
        "swish", [](In a, Out b) { swish(a, 1.5F, b); },
        [&](double v) { return v * sigmoid_of(1.5 * v); });
    check(
        "hard_sigmoid", [](In a, Out b) { hard_sigmoid(a, 0.25F, 0.5F, b); },
        [](double v) { return std::clamp(v * 0.25 + 0.5, 0.0, 1.0); });
    check(
        "hard_swish", [](In a, Out b) { hard_swish(a, b); },
        [](double v) { return v * std::clamp(v / 6 + 0.5, 0.0, 1.0); });
    check(
        "leaky_relu", [](In a, Out b) { leaky_relu(a, 0.1F, b); },
        [](double v) { return v < 0 ? double{0.1F} * v : v; });
    check(
        "clip", [](In a, Out b) { clip(a, -1, 6, b); },
        [](double v) { return std::clamp(v, -1.0, 6.0); });
    check(
        "affine", [](In a, Out b) { affine(a, 0.5F, 2, b); }, [](double v) { return 0.5 * v + 2; });
  });
}

TEST_CASE("infinities give limits, and NaN stays NaN") {
  for_each_simd_target([] {
    CHECK(one(exp, kInfinity) == kInfinity);
    CHECK(one(exp, -kInfinity) == 0.0F);
    CHECK(one(sigmoid, kInfinity) == 1.0F);
    CHECK(one(sigmoid, -kInfinity) == 0.0F);
    // armv7 divides by an approximated reciprocal.
    CHECK(one(tanh, kInfinity) == doctest::Approx(1).epsilon(1e-6));
    CHECK(one(tanh, -kInfinity) == doctest::Approx(-1).epsilon(1e-6));
    CHECK(one(relu, -kInfinity) == 0.0F);
    CHECK(one(relu, kInfinity) == kInfinity);
    for (const auto function : {exp, sigmoid, tanh, relu}) CHECK(std::isnan(one(function, NAN)));
  });
}

TEST_CASE("arithmetic agrees with plain loops on every length, also in place") {
  for_each_simd_target([] {
    for (size_t count = 0; count < 70; ++count) {
      const std::vector<float> a = random_values(count, 1), b = random_values(count, 2);
      const std::vector<float> t = random_values(count, 3);
      std::vector<float> y(count), expected(count);
      const auto check = [&](const auto& value) {
        for (size_t i = 0; i < count; ++i) expected[i] = value(i);
        CAPTURE(count);
        CHECK(max_difference(y, expected) < 5e-7F);  // a fused multiply-add rounds once less
      };
      add(a, b, y);
      check([&](size_t i) { return a[i] + b[i]; });
      subtract(a, b, y);
      check([&](size_t i) { return a[i] - b[i]; });
      multiply(a, b, y);
      check([&](size_t i) { return a[i] * b[i]; });
      add(a, 0.3F, y);
      check([&](size_t i) { return a[i] + 0.3F; });
      multiply(a, 0.3F, y);
      check([&](size_t i) { return a[i] * 0.3F; });
      blend(a, b, t, y);
      check([&](size_t i) { return a[i] * (1 - t[i]) + b[i] * t[i]; });
      relu(a, y);
      check([&](size_t i) { return std::max(a[i], 0.0F); });
      y = t;
      multiply_add(a, b, y);
      check([&](size_t i) { return t[i] + a[i] * b[i]; });
      y = a;
      add(y, b, y);
      check([&](size_t i) { return a[i] + b[i]; });
    }
  });
}

TEST_CASE("the largest of 2x2 squares, of any width, and NaN wins") {
  for_each_simd_target([] {
    CAPTURE(simd_target());
    for (size_t width = 2; width < 40; ++width) {
      const size_t places = width / 2, lines = 3;
      std::vector<float> x(2 * lines * width), y(lines * places), expected(y.size());
      for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 7919 % 101) - 50.0F;
      for (size_t i = width % 5; i < x.size(); i += 11) x[i] = NAN;
      for (size_t i = 3; i < x.size(); i += 17) x[i] = -kInfinity;
      for (size_t i = 0; i < y.size(); ++i) {
        const size_t at = i / places * 2 * width + i % places * 2;
        float& most = expected[i] = -kInfinity;
        for (const size_t from : {at, at + 1, at + width, at + width + 1})
          most = std::isnan(most) || std::isnan(x[from]) ? NAN : std::max(most, x[from]);
      }
      halve_max(x, width, places, y);
      for (size_t i = 0; i < y.size(); ++i)
        CHECK((y[i] == expected[i] || (std::isnan(y[i]) && std::isnan(expected[i]))));
    }
  });
}

TEST_CASE("largest element and sum") {
  for_each_simd_target([] {
    CHECK(max_of({}) == -kInfinity);
    CHECK(sum_of({}) == 0.0F);
    for (size_t count = 1; count < 140; ++count) {
      std::vector<float> x = random_values(count, 5);
      x[count / 2] = 3.0F;
      CHECK(max_of(x) == 3.0F);
      double sum = 0;
      for (const float value : x) sum += value;
      CHECK(sum_of(x) == doctest::Approx(sum).epsilon(1e-5));
      x[count * 2 / 3] = NAN;
      CHECK(std::isnan(max_of(x)));
      CHECK(std::isnan(sum_of(x)));
    }
  });
}

}  // namespace espalier
