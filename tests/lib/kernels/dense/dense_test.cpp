#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "lib/kernels/conv/dense_conv.h"
#include "lib/kernels/dense/dense.h"
#include "lib/kernels/dense/dense_vector.h"
#include "lib/kernels/simd_target.h"
#include "tests/lib/kernels/sparse_case.h"

namespace espalier {
namespace {

std::vector<float> naive_product(const std::vector<float>& w, size_t m, size_t k,
                                 const std::vector<float>& x, Features features, size_t n,
                                 const float* bias) {
  std::vector<float> y(m * n);
  for (size_t o = 0; o < m; ++o)
    for (size_t s = 0; s < n; ++s) {
      double sum = bias == nullptr ? 0 : bias[o];
      for (size_t f = 0; f < k; ++f)
        sum += double{w[o * k + f]} * x[features == Features::kInner ? s * k + f : f * n + s];
      y[features == Features::kInner ? s * m + o : o * n + s] = static_cast<float>(sum);
    }
  return y;
}

struct Image {
  size_t n, height, width;
};

std::vector<float> naive_conv(const ConvShape& c, const std::vector<float>& w, const float* bias,
                              bool relu, const std::vector<float>& x, const Image& image) {
  const size_t rows = c.output_extent(0, image.height), cols = c.output_extent(1, image.width);
  const size_t in = c.channels_in / c.groups, out = c.channels_out / c.groups;
  std::vector<float> y;
  for (size_t s = 0; s < image.n; ++s)
    for (size_t o = 0; o < c.channels_out; ++o)
      for (size_t row = 0; row < rows; ++row)
        for (size_t col = 0; col < cols; ++col) {
          double sum = bias == nullptr ? 0 : bias[o];
          for (size_t i = 0; i < in; ++i)
            for (size_t kh = 0; kh < c.kernel[0]; ++kh)
              for (size_t kw = 0; kw < c.kernel[1]; ++kw) {
                const size_t iy = row * c.stride[0] + kh * c.dilation[0] - c.pad_begin[0];
                const size_t ix = col * c.stride[1] + kw * c.dilation[1] - c.pad_begin[1];
                if (iy >= image.height || ix >= image.width) continue;  // wraps where below 0
                const size_t channel = o / out * in + i;
                sum += double{w[((o * in + i) * c.kernel[0] + kh) * c.kernel[1] + kw]} *
                       x[((s * c.channels_in + channel) * image.height + iy) * image.width + ix];
              }
          y.push_back(static_cast<float>(relu ? std::max(sum, 0.0) : sum));
        }
  return y;
}

void check_conv(const ConvShape& shape, const Image& image) {
  const size_t taps = shape.channels_in / shape.groups * shape.kernel[0] * shape.kernel[1];
  const std::vector<float> w = random_values(shape.channels_out * taps, 1);
  const std::vector<float> bias = random_values(shape.channels_out, 2);
  const std::vector<float> x =
      random_values(image.n * shape.channels_in * image.height * image.width, 3);
  for (const bool relu : {false, true}) {
    for (const float* b : {static_cast<const float*>(nullptr), bias.data()}) {
      const std::vector<float> expected = naive_conv(shape, w, b, relu, x, image);
      const auto conv = prepare_conv(shape, w.data(), b, relu);
      std::vector<std::vector<float>> results;
      for (const size_t threads : {1, 2}) {
        ThreadPool pool(threads);
        std::vector<float> y(expected.size(), NAN);
        conv->run(x.data(), image.n, image.height, image.width, y.data(), pool);
        CHECK(max_difference(y, expected) < 3e-7F * static_cast<float>(taps) + 1e-6F);
        results.push_back(y);
      }
      CHECK(results[0] == results[1]);
    }
  }
}

}  // namespace

TEST_CASE("dense products agree with the definition") {
  ThreadPool pool(1);
  for (const auto& [m, k] : {std::pair<size_t, size_t>{1, 1}, {5, 7}, {64, 96}, {33, 130}}) {
    const std::vector<float> w = random_values(m * k, 1), bias = random_values(m, 2);
    const auto product = prepare_dense(w.data(), m, k);
    CHECK(product->kernel() == "dense");
    for (const size_t n : {1, 2, 3, 5, 16, 33}) {
      const std::vector<float> x = random_values(n * k, 3);
      for (const Features features : {Features::kInner, Features::kOuter})
        for (const float* b : {static_cast<const float*>(nullptr), bias.data()}) {
          CAPTURE(m);
          CAPTURE(n);
          CAPTURE(features == Features::kInner);
          const std::vector<float> expected = naive_product(w, m, k, x, features, n, b);
          CHECK(max_difference(run_product(*product, m, x, features, n, b, pool), expected) <
                2e-7F * static_cast<float>(k) + 1e-6F);
        }
    }
    CHECK(product->bytes() >= m * k * sizeof(float));
  }
}

TEST_CASE("large dense products are cut alike for any number of threads") {
  const size_t m = 1100, k = 1000;  // several pieces, the last one ragged
  const std::vector<float> w = random_values(m * k, 1), bias = random_values(m, 2);
  const auto product = prepare_dense(w.data(), m, k);
  for (const size_t n : {1, 3, 20}) {
    const std::vector<float> x = random_values(n * k, 3);
    for (const Features features : {Features::kInner, Features::kOuter}) {
      ThreadPool one(1), two(2);
      const auto a = run_product(*product, m, x, features, n, bias.data(), one);
      const auto b = run_product(*product, m, x, features, n, bias.data(), two);
      CHECK(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
      CHECK(max_difference(a, naive_product(w, m, k, x, features, n, bias.data())) < 2e-4F);
    }
  }
}

TEST_CASE("a dense product without inputs is its bias, and one without samples nothing") {
  ThreadPool pool(1);
  const std::vector<float> bias = {1, 2};
  const auto product = prepare_dense(nullptr, 2, 0);
  CHECK(run_product(*product, 2, {}, Features::kOuter, 2, bias.data(), pool) ==
        std::vector<float>{1, 1, 2, 2});
  CHECK(run_product(*product, 2, {}, Features::kInner, 2, nullptr, pool) ==
        std::vector<float>(4, 0.0F));
  const std::vector<float> w = {1, 2, 3, 4};
  CHECK(run_product(*prepare_dense(w.data(), 2, 2), 2, {}, Features::kInner, 0, nullptr, pool)
            .empty());
}

TEST_CASE("convolutions agree with the definition") {
  check_conv({.channels_in = 3, .channels_out = 5}, {2, 6, 7});
  check_conv({.channels_in = 1,
              .channels_out = 16,
              .kernel = {3, 3},
              .pad_begin = {1, 1},
              .pad_end = {1, 1}},
             {1, 28, 28});
  check_conv({.channels_in = 16,
              .channels_out = 20,
              .kernel = {3, 2},
              .stride = {2, 1},
              .dilation = {1, 2},
              .pad_begin = {0, 3},
              .pad_end = {2, 1}},
             {2, 9, 11});
  check_conv({.channels_in = 12,
              .channels_out = 18,
              .groups = 3,
              .kernel = {3, 3},
              .pad_begin = {1, 0},
              .pad_end = {0, 1}},
             {1, 8, 8});
  check_conv({.channels_in = 24,
              .channels_out = 24,
              .groups = 24,
              .kernel = {3, 3},
              .stride = {2, 2},
              .pad_begin = {1, 1},
              .pad_end = {0, 0}},
             {2, 9, 9});
  check_conv({.channels_in = 4, .channels_out = 8, .groups = 4, .kernel = {1, 5}}, {1, 1, 20});
  check_conv({.channels_in = 1, .channels_out = 258, .kernel = {1, 256}, .stride = {1, 128}},
             {1, 1, 640});
}

TEST_CASE("large convolutions are cut into pieces that agree with the definition") {
  check_conv({.channels_in = 64,
              .channels_out = 150,
              .kernel = {3, 3},
              .pad_begin = {1, 1},
              .pad_end = {1, 1}},
             {1, 14, 15});
  check_conv({.channels_in = 128,
              .channels_out = 128,
              .groups = 4,
              .kernel = {3, 3},
              .pad_begin = {1, 1},
              .pad_end = {1, 1}},
             {1, 20, 20});
}

TEST_CASE("a convolution serves inputs of changing size, and none where the window does not fit") {
  ThreadPool pool(1);
  const ConvShape shape{.channels_in = 2, .channels_out = 3, .kernel = {1, 4}};
  const std::vector<float> w = random_values(24, 1);
  const auto conv = prepare_conv(shape, w.data(), nullptr);
  for (size_t round = 0; round < 2; ++round)
    for (size_t width = 2; width < 16; ++width) {
      const std::vector<float> x = random_values(2 * width, 3);
      const Image image{1, 1, width};
      const std::vector<float> expected =
          width < 4 ? std::vector<float>() : naive_conv(shape, w, nullptr, false, x, image);
      std::vector<float> y(expected.size());
      conv->run(x.data(), 1, 1, width, y.data(), pool);
      CHECK(max_difference(y, expected) < 1e-5F);
    }
}

TEST_CASE("one sample: equal to plain sums on every instruction set, on ragged sizes") {
  for (const std::string& target : simd_targets()) {
    CAPTURE(target);
    set_simd_target(target);
    for (const size_t m : {1, 3, 15, 16, 17, 64, 100, 300}) {
      for (const size_t k : {1, 2, 7, 64, 129}) {
        CAPTURE(m);
        CAPTURE(k);
        const auto w = random_values(m * k, 1), x = random_values(k, 2), bias = random_values(m, 3);
        const DensePanels panels(w.data(), m, k);
        std::vector<float> back(m * k);
        panels.unpack(back.data());
        CHECK(back == w);
        for (const float* b : {static_cast<const float*>(nullptr), bias.data()}) {
          const auto expected = naive_product(w, m, k, x, Features::kInner, 1, b);
          std::vector<float> y(m + 1, 42.0F);
          panels.run(x.data(), b, y.data());
          for (size_t r = 0; r < m; ++r)
            CHECK(y[r] == doctest::Approx(expected[r]).epsilon(1e-5).scale(10));
          CHECK(y[m] == 42.0F);  // nothing behind the last row is touched
        }
      }
    }
    auto w = random_values(20 * 5, 1), x = random_values(5, 2);
    w[7 * 5] = std::numeric_limits<float>::quiet_NaN();
    w[18 * 5 + 1] = std::numeric_limits<float>::infinity();
    x[1] = 0;
    std::vector<float> y(20);
    DensePanels(w.data(), 20, 5).run(x.data(), nullptr, y.data());
    for (size_t r = 0; r < 20; ++r) CHECK(std::isnan(y[r]) == (r == 7 || r == 18));  // inf * 0
  }
  set_simd_target(simd_targets().front());
}

TEST_CASE("a dense product serves one sample, then several, then one again") {
  const size_t m = 70, k = 33;
  const auto w = random_values(m * k, 1), x = random_values(9 * k, 2);
  ThreadPool pool(1);
  const auto product = prepare_dense(w.data(), m, k);
  for (const size_t n : {1, 4, 1, 9}) {
    std::vector<float> y(m * n);
    product->run(x.data(), Features::kInner, n, nullptr, y.data(), pool);
    const auto expected = naive_product(w, m, k, x, Features::kInner, n, nullptr);
    for (size_t i = 0; i < y.size(); ++i)
      CHECK(y[i] == doctest::Approx(expected[i]).epsilon(1e-5).scale(10));
  }
}

}  // namespace espalier
