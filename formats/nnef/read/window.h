#pragma once

#include <vector>

#include "formats/nnef/read/call.h"

namespace espalier::nnef {

/// How a convolution or a pool moves over its spatial axes.
struct Window {
  std::vector<int64_t> kernel, strides, dilations, before, after;
  /// Padding follows from extents that are not known: as many outputs as fit, extra at the end.
  bool pads_like_same = false;

  bool is_unpadded() const;
  int64_t reach(size_t axis) const { return (kernel[axis] - 1) * dilations[axis] + 1; }
  /// Of a forward and of a transposed convolution; -1 where `extent` is not known.
  int64_t output_extent(size_t axis, int64_t extent) const;
  int64_t input_extent(size_t axis, int64_t extent) const;
  /// Of a transposed convolution without padding, of a known extent.
  int64_t whole_extent(size_t axis, int64_t extent) const {
    return (extent - 1) * strides[axis] + reach(axis);
  }
  /// kernel_shape, strides, dilations, pads or auto_pad.
  std::vector<Attribute> attributes() const;
};

/// From the arguments padding, stride and dilation, which have `leading` entries for batch and
/// channels in front (pools 2, convolutions 0). `input` has two axes more than `kernel`.
/// Errors  Fault::kFormat: wrong counts, a stride or extent below 1, padding below 0.
Window window_of(const Call& call, const Shape& input, std::vector<int64_t> kernel, size_t leading);

/// Sets the padding of a transposed operator with arguments padding and output_shape; `from` is its
/// input. The result: how much of its end, per axis, lies behind the last stride (ONNX's
/// output_padding).
/// Errors  Fault::kFormat where output_shape does not fit.
std::vector<int64_t> pad_transposed(const Call& call, Window& window, const Shape& from);

}  // namespace espalier::nnef
