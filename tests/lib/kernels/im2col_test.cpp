#include "lib/kernels/im2col.h"

#include <doctest/doctest.h>

#include "tests/lib/kernels/sparse_case.h"

namespace espalier {
namespace {

// Straight from the definition: what output place (row, col) sees through tap (kh, kw).
std::vector<float> naive(const ConvShape& shape, size_t height, size_t width,
                         const std::vector<float>& image) {
  std::vector<float> columns;
  const size_t rows = shape.output_extent(0, height), cols = shape.output_extent(1, width);
  for (size_t channel = 0; channel < shape.channels_in / shape.groups; ++channel)
    for (size_t kh = 0; kh < shape.kernel[0]; ++kh)
      for (size_t kw = 0; kw < shape.kernel[1]; ++kw)
        for (size_t row = 0; row < rows; ++row)
          for (size_t col = 0; col < cols; ++col) {
            const size_t y = row * shape.stride[0] + kh * shape.dilation[0];
            const size_t x = col * shape.stride[1] + kw * shape.dilation[1];
            const bool inside = y >= shape.pad_begin[0] && y - shape.pad_begin[0] < height &&
                                x >= shape.pad_begin[1] && x - shape.pad_begin[1] < width;
            columns.push_back(inside ? image[(channel * height + y - shape.pad_begin[0]) * width +
                                             x - shape.pad_begin[1]]
                                     : 0.0F);
          }
  return columns;
}

const ConvShape kShapes[] = {
    {.channels_in = 3},
    {.channels_in = 2, .kernel = {3, 3}, .pad_begin = {1, 1}, .pad_end = {1, 1}},
    {.channels_in = 2, .kernel = {3, 2}, .stride = {2, 3}, .pad_begin = {0, 2}, .pad_end = {3, 0}},
    {.channels_in = 4, .groups = 2, .kernel = {2, 3}, .dilation = {3, 2}, .pad_begin = {4, 1}},
    {.channels_in = 1, .kernel = {1, 5}, .stride = {1, 2}, .pad_end = {0, 4}},
    {.channels_in = 1, .kernel = {2, 2}, .pad_begin = {9, 9}, .pad_end = {9, 9}},  // far outside
};

}  // namespace

TEST_CASE("im2col lays out what each output place sees") {
  for (const ConvShape& shape : kShapes) {
    for (const auto& [height, width] : {std::pair<size_t, size_t>{1, 1}, {1, 9}, {7, 5}, {8, 11}}) {
      const std::vector<float> image =
          random_values(shape.channels_in / shape.groups * height * width, 1);
      const std::vector<float> expected = naive(shape, height, width, image);
      REQUIRE(expected.size() == im2col_rows(shape) * im2col_columns(shape, height, width));
      std::vector<float> columns(expected.size() + kIm2colSlack, NAN);
      std::vector<float> scratch(im2col_scratch(shape, height, width), NAN);
      im2col(shape, height, width, image.data(), columns.data(), scratch.data());
      columns.resize(expected.size());
      CHECK(columns == expected);
      if (im2col_is_identity(shape)) CHECK(columns == image);
    }
  }
}

}  // namespace espalier
