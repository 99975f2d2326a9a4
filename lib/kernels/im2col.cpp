#include "lib/kernels/im2col.h"

#include <algorithm>
#include <array>

namespace espalier {
namespace {

constexpr std::array<size_t, 2> kOnes{1, 1}, kZeros{0, 0};

// Output places from `first` to `end` whose input place lies inside the input; the others see
// padding.
struct Inside {
  size_t first, end;
};

Inside inside(const ConvShape& shape, size_t axis, size_t tap, size_t extent, size_t places) {
  const size_t offset = tap * shape.dilation[axis], pad = shape.pad_begin[axis];
  const size_t stride = shape.stride[axis];
  const size_t first = offset >= pad ? 0 : (pad - offset + stride - 1) / stride;
  const size_t end = extent + pad <= offset ? 0 : (extent + pad - offset - 1) / stride + 1;
  return {std::min(first, places), std::max(std::min(end, places), std::min(first, places))};
}

// One row of columns, one row of places: row[p] = line[p * stride + offset - pad].
void copy_line(const float* line, size_t stride, size_t first_input, Inside part, size_t places,
               float* row) {
  std::fill(row, row + part.first, 0.0F);
  const float* from = line + first_input;
  if (stride == 1) {
    std::copy_n(from, part.end - part.first, row + part.first);
  } else {
    for (size_t p = part.first; p < part.end; ++p) row[p] = from[(p - part.first) * stride];
  }
  std::fill(row + part.end, row + places, 0.0F);
}

}  // namespace

bool im2col_is_identity(const ConvShape& shape) {
  return shape.kernel == kOnes && shape.stride == kOnes && shape.pad_begin == kZeros &&
         shape.pad_end == kZeros;
}

void im2col(const ConvShape& shape, size_t height, size_t width, const float* image,
            float* columns) {
  const size_t rows = shape.output_extent(0, height), cols = shape.output_extent(1, width);
  const size_t channels = shape.channels_in / shape.groups;
  for (size_t channel = 0; channel < channels; ++channel) {
    for (size_t kh = 0; kh < shape.kernel[0]; ++kh) {
      const Inside y = inside(shape, 0, kh, height, rows);
      for (size_t kw = 0; kw < shape.kernel[1]; ++kw, columns += rows * cols) {
        const Inside x = inside(shape, 1, kw, width, cols);
        if (y.first == y.end || x.first == x.end) {
          std::fill(columns, columns + rows * cols, 0.0F);
          continue;
        }
        std::fill(columns, columns + y.first * cols, 0.0F);
        const size_t first_x =
            x.first * shape.stride[1] + kw * shape.dilation[1] - shape.pad_begin[1];
        for (size_t row = y.first; row < y.end; ++row) {
          const size_t line = row * shape.stride[0] + kh * shape.dilation[0] - shape.pad_begin[0];
          copy_line(image + (channel * height + line) * width, shape.stride[1], first_x, x, cols,
                    columns + row * cols);
        }
        std::fill(columns + y.end * cols, columns + rows * cols, 0.0F);
      }
    }
  }
}

}  // namespace espalier
