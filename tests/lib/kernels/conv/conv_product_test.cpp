#include "lib/kernels/conv/conv_product.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "lib/kernels/simd_target.h"
#include "lib/sparse/pack.h"
#include "tests/lib/kernels/conv/conv_case.h"
#include "tests/lib/kernels/sparse_case.h"

namespace espalier {
namespace {

struct Case {
  ConvShape shape;
  Images images;
  SparseMatrix filters;
  std::vector<float> x, bias;
};

Case random_case(const ConvShape& shape, const Images& images, BlockShape block, double density) {
  const Fold fold{shape.groups, shape.channels_out / shape.groups, im2col_rows(shape)};
  return {shape, images, random_sparse(fold, block, density, /*diagonal=*/false),
          random_values(images.count(shape.channels_in), 3), random_values(shape.channels_out, 4)};
}

size_t places(const Case& c) { return im2col_columns(c.shape, c.images.height, c.images.width); }

// Y by the definition, in double, from the decoded weight.
std::vector<float> naive(const Case& c, const float* bias) {
  const std::vector<float> dense = to_f32(decode(c.filters));
  const size_t cols = c.shape.output_extent(1, c.images.width), k = im2col_rows(c.shape);
  std::vector<float> y;
  for (size_t image = 0; image < c.images.batch; ++image)
    for (size_t o = 0; o < c.shape.channels_out; ++o)
      for (size_t p = 0; p < places(c); ++p) {
        double sum = bias == nullptr ? 0 : bias[o];
        const size_t group = o / (c.shape.channels_out / c.shape.groups);
        for (size_t i = 0; i < k; ++i)
          if (dense[o * k + i] != 0)
            sum += double{dense[o * k + i]} *
                   seen_by(c.shape, c.images, c.x, group, i, {image, p / cols, p % cols});
        y.push_back(static_cast<float>(sum));
      }
  return y;
}

std::vector<float> run(const Case& c, const float* bias, size_t threads, bool exact = true) {
  std::vector<std::shared_ptr<const Product>> products;
  for (size_t group = 0; group < c.shape.groups; ++group)
    products.push_back(prepare_sparse_parts(c.filters, group, 1, /*plain=*/false, exact));
  const ConvProduct conv(c.shape, c.images.height, c.images.width, c.images.batch, products);
  ThreadPool pool(threads);
  std::vector<float> scratch(conv.scratch(threads), NAN);
  std::vector<float> y(c.images.batch * c.shape.channels_out * places(c), NAN);
  conv.run(c.x.data(), bias, y.data(), scratch.data(), pool);
  return y;
}

constexpr BlockShape kBlocks[] = {{16, 1}, {16, 4}, {8, 1}, {8, 4}, {4, 8}, {1, 1}};

}  // namespace

TEST_CASE("a packed convolution is what its definition says, on every instruction set") {
  for_each_simd_target([] {
    for (const ConvShape& shape : kConvShapes) {
      for (const Images& images : kImages) {
        for (const BlockShape block : kBlocks) {
          const Case c = random_case(shape, images, block, 0.4);
          if (places(c) == 0) continue;
          CAPTURE(simd_target());
          CAPTURE(&shape - kConvShapes);
          CAPTURE(images.height);
          CAPTURE(images.width);
          CAPTURE(to_string(block));
          CHECK(max_difference(run(c, c.bias.data(), 1), naive(c, c.bias.data())) < 1e-5F);
          CHECK(max_difference(run(c, nullptr, 1), naive(c, nullptr)) < 1e-5F);
        }
      }
    }
  });
}

TEST_CASE("one, two and three threads give the same bits of a convolution") {
  const ConvShape shape{.channels_in = 64,
                        .channels_out = 96,
                        .groups = 2,
                        .kernel = {3, 3},
                        .pad_begin = {1, 1},
                        .pad_end = {1, 1}};
  // Many tiles; one tile; weights that are taken in strips.
  for (const Images& images : {Images{1, 70, 90}, {1, 20, 21}, {3, 9, 7}}) {
    if (kEmulated && images.height == 70) continue;
    for (const BlockShape block : kBlocks) {
      const Case c = random_case(shape, images, block, 0.5);
      const std::vector<float> y = run(c, c.bias.data(), 1);
      for (const size_t threads : {2, 3}) {
        const std::vector<float> other = run(c, c.bias.data(), threads);
        CAPTURE(to_string(block));
        CHECK(std::memcmp(y.data(), other.data(), y.size() * sizeof(float)) == 0);
      }
    }
  }
}

TEST_CASE("filters that exceed the cache are taken in strips") {
  const ConvShape shape{.channels_in = 128, .channels_out = 400, .kernel = {3, 3}};
  const Case c = random_case(shape, {1, 12, 13}, {16, 1}, 1.0);
  REQUIRE(prepare_sparse(c.filters)->bytes() > size_t{1} << 20);
  const std::vector<float> y = run(c, c.bias.data(), 1);
  CHECK(max_difference(y, naive(c, c.bias.data())) < 1e-3F);
  CHECK(y == run(c, c.bias.data(), 2));
}

TEST_CASE("narrow values are convolved like the wide ones they stand for") {
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kI8}) {
    Case c = random_case(kConvShapes[1], {2, 8, 8}, {16, 1}, 0.5);
    c.filters = with_values(c.filters, dtype);
    CHECK(max_difference(run(c, c.bias.data(), 1), naive(c, c.bias.data())) < 1e-5F);
  }
}

TEST_CASE("i8 values are convolved with rounded inputs, within the bound of int8_product.h") {
  Case c = random_case(kConvShapes[1], {2, 8, 8}, {16, 1}, 0.5);
  c.filters = with_values(c.filters, DType::kI8);
  const std::vector<float> w = to_f32(decode(c.filters));
  const size_t k = im2col_rows(c.shape);
  float weights = 0, inputs = 0;  // the largest sum of an output, the largest input
  for (size_t o = 0; o < c.shape.channels_out; ++o) {
    float sum = 0;
    for (size_t i = 0; i < k; ++i) sum += std::abs(w[o * k + i]);
    weights = std::max(weights, sum);
  }
  for (const float x : c.x) inputs = std::max(inputs, std::abs(x));
  const float found =
      max_difference(run(c, c.bias.data(), 1, /*exact=*/false), naive(c, c.bias.data()));
  CHECK(found <= inputs / 127 * 0.501F * weights + 1e-5F);
  CHECK(found > 1e-5F);  // they were rounded
}

TEST_CASE("infinities and NaN go where the window sees them, and nowhere else") {
  for (const BlockShape block : kBlocks) {
    Case c = random_case(kConvShapes[1], {1, 8, 8}, block, 1.0);
    c.x[0] = INFINITY;          // channel 0, corner
    c.x[64 + 8 * 7 + 7] = NAN;  // channel 1, opposite corner
    const std::vector<float> y = run(c, nullptr, 1), expected = naive(c, nullptr);
    bool equal = true;
    for (size_t i = 0; i < y.size(); ++i)
      equal = equal && std::isnan(y[i]) == std::isnan(expected[i]) &&
              std::isinf(y[i]) == std::isinf(expected[i]);
    CAPTURE(to_string(block));
    CHECK(equal);
    CHECK(std::isfinite(y[3 * 8 + 3]));
  }
}

TEST_CASE("memory is that of tiles, not of the unrolled image") {
  const ConvShape shape{.channels_in = 64,
                        .channels_out = 64,
                        .kernel = {3, 3},
                        .pad_begin = {1, 1},
                        .pad_end = {1, 1}};
  for (const BlockShape block : {BlockShape{16, 1}, {1, 1}}) {
    const Fold fold{1, 64, 576};
    const ConvProduct conv(shape, 160, 160, 1,
                           {prepare_sparse(random_sparse(fold, block, 0.1, false))});
    CHECK(conv.scratch(1) < (size_t{1} << 18) + (size_t{1} << 14));  // of 14.7 million
  }
}

}  // namespace espalier
