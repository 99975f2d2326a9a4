#pragma once

#include <array>
#include <cstddef>

namespace espalier {

/// A convolution over images [channels, height, width]; a 1-D one has height 1. Pairs are {height,
/// width}. All but the pads at least 1; channels_in and channels_out are multiples of groups.
struct ConvShape {
  size_t channels_in = 1, channels_out = 1, groups = 1;
  std::array<size_t, 2> kernel{1, 1}, stride{1, 1}, dilation{1, 1}, pad_begin{0, 0}, pad_end{0, 0};

  /// Places of the window along `axis` of an input `extent` long; 0 where it does not fit once.
  size_t output_extent(size_t axis, size_t extent) const {
    const size_t padded = extent + pad_begin[axis] + pad_end[axis];
    const size_t window = (kernel[axis] - 1) * dilation[axis] + 1;
    return padded < window ? 0 : (padded - window) / stride[axis] + 1;
  }
  bool operator==(const ConvShape&) const = default;
};

}  // namespace espalier
