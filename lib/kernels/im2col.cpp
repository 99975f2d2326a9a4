#include "lib/kernels/im2col.h"

#include <algorithm>
#include <array>
#include <cstring>

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

// inside() of every tap along one axis: it divides, which would cost more than a short line. Long
// windows are worked out as they come.
class Taps {
 public:
  Taps(const ConvShape& shape, size_t axis, size_t extent, size_t places)
      : shape_(shape), axis_(axis), extent_(extent), places_(places) {
    for (size_t tap = 0; tap < std::min(known_.size(), shape.kernel[axis]); ++tap)
      known_[tap] = inside(shape, axis, tap, extent, places);
  }
  Inside operator[](size_t tap) const {
    return tap < known_.size() ? known_[tap] : inside(shape_, axis_, tap, extent_, places_);
  }

 private:
  const ConvShape& shape_;
  size_t axis_, extent_, places_;
  std::array<Inside, 16> known_;
};

// Lines are often shorter than a call of memcpy takes.
void copy_short(const float* from, size_t count, float* to) {
  constexpr size_t kShort = 64, kStep = 4;
  if (count > kShort) {
    std::copy_n(from, count, to);
    return;
  }
  size_t i = 0;
  for (; i + kStep <= count; i += kStep) std::memcpy(to + i, from + i, kStep * sizeof(float));
  for (; i < count; ++i) to[i] = from[i];
}

// One row of columns, one row of places: row[p] = line[p * stride + offset - pad].
void copy_line(const float* line, size_t stride, size_t first_input, Inside part, size_t places,
               float* row) {
  for (size_t p = 0; p < part.first; ++p) row[p] = 0.0F;
  const float* from = line + first_input;
  if (stride == 1) {
    copy_short(from, part.end - part.first, row + part.first);
  } else {
    for (size_t p = part.first; p < part.end; ++p) row[p] = from[(p - part.first) * stride];
  }
  for (size_t p = part.end; p < places; ++p) row[p] = 0.0F;
}

// A channel with its pads around it: each line of columns is then a piece of one of its lines.
// Worth it where lines are so short that a copy of fixed length beats one of the right length.
struct Padded {
  size_t rows, pitch;

  Padded(const ConvShape& shape, size_t height, size_t width)
      : rows(height + shape.pad_begin[0] + shape.pad_end[0]),
        pitch(width + shape.pad_begin[1] + shape.pad_end[1]) {}
  size_t floats() const { return rows * pitch + kIm2colSlack; }
};

constexpr size_t kShortLine = 16, kMostPadded = 8192;

bool lines_are_short(const ConvShape& shape, size_t height, size_t width) {
  const Padded padded(shape, height, width);
  // Windows of one column take whole lines, one after another: a single copy.
  return shape.kernel[1] > 1 && shape.stride[1] == 1 &&
         shape.output_extent(1, width) <= kShortLine && height <= kMostPadded &&
         width <= kMostPadded && padded.rows <= kMostPadded && padded.pitch <= kMostPadded &&
         padded.floats() <= kMostPadded;
}

// Lines of `cols` <= kCopied places, front to back: what is copied beyond one is overwritten by the
// next.
template <size_t kCopied>
float* copy_taps(const ConvShape& shape, const Padded& padded, const float* channel, size_t rows,
                 size_t cols, float* to) {
  for (size_t kh = 0; kh < shape.kernel[0]; ++kh) {
    for (size_t kw = 0; kw < shape.kernel[1]; ++kw) {
      const float* from = channel + kh * shape.dilation[0] * padded.pitch + kw * shape.dilation[1];
      for (size_t row = 0; row < rows; ++row, from += shape.stride[0] * padded.pitch, to += cols)
        std::memcpy(to, from, kCopied * sizeof(float));
    }
  }
  return to;
}

void im2col_short_lines(const ConvShape& shape, size_t height, size_t width, const float* image,
                        float* columns, float* scratch) {
  const Padded padded(shape, height, width);
  const size_t rows = shape.output_extent(0, height), cols = shape.output_extent(1, width);
  std::fill_n(scratch, padded.floats(), 0.0F);
  float* const inside = scratch + shape.pad_begin[0] * padded.pitch + shape.pad_begin[1];
  for (size_t channel = 0; channel < shape.channels_in / shape.groups; ++channel) {
    for (size_t row = 0; row < height; ++row, image += width)
      copy_short(image, width, inside + row * padded.pitch);
    columns = cols <= 4   ? copy_taps<4>(shape, padded, scratch, rows, cols, columns)
              : cols <= 8 ? copy_taps<8>(shape, padded, scratch, rows, cols, columns)
                          : copy_taps<kShortLine>(shape, padded, scratch, rows, cols, columns);
  }
}

}  // namespace

size_t im2col_scratch(const ConvShape& shape, size_t height, size_t width) {
  return lines_are_short(shape, height, width) ? Padded(shape, height, width).floats() : 0;
}

bool im2col_is_identity(const ConvShape& shape) {
  return shape.kernel == kOnes && shape.stride == kOnes && shape.pad_begin == kZeros &&
         shape.pad_end == kZeros;
}

void im2col(const ConvShape& shape, size_t height, size_t width, const float* image, float* columns,
            float* scratch) {
  if (lines_are_short(shape, height, width))
    return im2col_short_lines(shape, height, width, image, columns, scratch);
  const size_t rows = shape.output_extent(0, height), cols = shape.output_extent(1, width);
  const size_t channels = shape.channels_in / shape.groups;
  const Taps heights(shape, 0, height, rows), widths(shape, 1, width, cols);
  for (size_t channel = 0; channel < channels; ++channel) {
    for (size_t kh = 0; kh < shape.kernel[0]; ++kh) {
      const Inside y = heights[kh];
      for (size_t kw = 0; kw < shape.kernel[1]; ++kw, columns += rows * cols) {
        const Inside x = widths[kw];
        if (y.first == y.end || x.first == x.end) {
          std::fill(columns, columns + rows * cols, 0.0F);
          continue;
        }
        std::fill(columns, columns + y.first * cols, 0.0F);
        const size_t first_x =
            x.first * shape.stride[1] + kw * shape.dilation[1] - shape.pad_begin[1];
        const size_t first_line =
            y.first * shape.stride[0] + kh * shape.dilation[0] - shape.pad_begin[0];
        const bool whole_lines = x.first == 0 && x.end == cols && cols == width && first_x == 0;
        if (whole_lines && shape.stride[0] == 1 && shape.stride[1] == 1) {
          copy_short(image + (channel * height + first_line) * width, (y.end - y.first) * cols,
                     columns + y.first * cols);
          std::fill(columns + y.end * cols, columns + rows * cols, 0.0F);
          continue;
        }
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
