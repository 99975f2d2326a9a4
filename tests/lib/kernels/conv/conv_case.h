#pragma once

#include <vector>

#include "lib/kernels/conv/conv_shape.h"

namespace espalier {

struct Images {
  size_t batch, height, width;
  size_t count(size_t channels) const { return batch * channels * height * width; }
};

struct Place {
  size_t image, row, col;
};

/// What `place` sees through input `input` (channel, kh, kw) of group `group`'s filter; straight
/// from the definition.
inline float seen_by(const ConvShape& shape, const Images& of, const std::vector<float>& x,
                     size_t group, size_t input, const Place& place) {
  const size_t kw = input % shape.kernel[1], kh = input / shape.kernel[1] % shape.kernel[0];
  const size_t channel =
      group * (shape.channels_in / shape.groups) + input / shape.kernel[1] / shape.kernel[0];
  const size_t row = place.row * shape.stride[0] + kh * shape.dilation[0];
  const size_t col = place.col * shape.stride[1] + kw * shape.dilation[1];
  if (row < shape.pad_begin[0] || row - shape.pad_begin[0] >= of.height) return 0;
  if (col < shape.pad_begin[1] || col - shape.pad_begin[1] >= of.width) return 0;
  return x[((place.image * shape.channels_in + channel) * of.height + row - shape.pad_begin[0]) *
               of.width +
           col - shape.pad_begin[1]];
}

inline const ConvShape kConvShapes[] = {
    {.channels_in = 3, .channels_out = 5},
    {.channels_in = 2,
     .channels_out = 40,
     .kernel = {3, 3},
     .pad_begin = {1, 1},
     .pad_end = {1, 1}},
    {.channels_in = 2,
     .channels_out = 16,
     .kernel = {3, 2},
     .stride = {2, 3},
     .pad_begin = {0, 2},
     .pad_end = {3, 0}},
    {.channels_in = 4,
     .channels_out = 50,
     .groups = 2,
     .kernel = {2, 3},
     .dilation = {3, 2},
     .pad_begin = {4, 1}},
    {.channels_in = 5, .channels_out = 8, .kernel = {1, 5}, .stride = {1, 2}, .pad_end = {0, 4}},
    {.channels_in = 3, .channels_out = 17, .kernel = {1, 1}, .stride = {2, 2}},
    {.channels_in = 2, .channels_out = 9, .kernel = {3, 4}, .stride = {2, 70}, .pad_end = {3, 250}},
    {.channels_in = 3,
     .channels_out = 33,
     .groups = 3,
     .kernel = {3, 3},
     .stride = {2, 3},
     .dilation = {2, 2},
     .pad_begin = {2, 3},
     .pad_end = {4, 4}},
    {.channels_in = 1, .channels_out = 4, .kernel = {2, 2}, .pad_begin = {9, 9}, .pad_end = {9, 9}},
    {.channels_in = 1,
     .channels_out = 4,
     .kernel = {2, 3},
     .dilation = {40, 30},
     .pad_begin = {45, 70}},
};

inline const Images kImages[] = {{1, 1, 1}, {1, 1, 9}, {3, 7, 5}, {1, 8, 11},  {2, 8, 8},
                                 {5, 4, 4}, {9, 1, 4}, {7, 1, 2}, {1, 40, 23}, {1, 3, 150}};

}  // namespace espalier
