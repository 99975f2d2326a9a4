#pragma once

#include "lib/kernels/conv_shape.h"

namespace espalier {

/// Rows and columns of im2col's result: the inputs of one group's filter and the output places.
inline size_t im2col_rows(const ConvShape& shape) {
  return shape.channels_in / shape.groups * shape.kernel[0] * shape.kernel[1];
}
inline size_t im2col_columns(const ConvShape& shape, size_t height, size_t width) {
  return shape.output_extent(0, height) * shape.output_extent(1, width);
}

/// Whether im2col would copy the image as it is: 1x1 windows, no stride, no padding.
bool im2col_is_identity(const ConvShape& shape);

/// Lays out what each output place sees of one group of one image, as the columns of a matrix that
/// the group's filter [channels_out / groups, im2col_rows] multiplies (Features::kOuter).
///
/// image    [channels_in / groups, height, width]: the group's own channels
/// columns  [im2col_rows, im2col_columns], row-major; padding reads as 0. kIm2colSlack floats more
///          may be written.
/// scratch  im2col_scratch floats, which do not overlap the others
void im2col(const ConvShape& shape, size_t height, size_t width, const float* image, float* columns,
            float* scratch);

inline constexpr size_t kIm2colSlack = 16;
size_t im2col_scratch(const ConvShape& shape, size_t height, size_t width);

}  // namespace espalier
