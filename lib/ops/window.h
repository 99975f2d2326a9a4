#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "lib/ops/operator.h"

namespace espalier {

/// One spatial axis of a convolution or pooling over an input of known extent.
struct WindowAxis {
  size_t input = 1, kernel = 1, stride = 1, dilation = 1, pad_begin = 0, pad_end = 0, output = 1;

  size_t span() const { return (kernel - 1) * dilation + 1; }
};

enum class AutoPad { kNone, kSameUpper, kSameLower, kValid };

/// What Conv, ConvTranspose and the poolings say of their windows. Lists are as long as there are
/// spatial axes, or empty where the node leaves them out.
struct WindowAttributes {
  std::vector<int64_t> kernel, strides, dilations, pads;
  AutoPad auto_pad = AutoPad::kNone;
  bool ceil = false;

  /// Errors  Fault::kFormat for values that no window has (a stride of 0, a pad below 0).
  explicit WindowAttributes(const Node& node);

  /// Axis number `axis` of `count`, over an input `extent` long, for a window of `kernel` places;
  /// `output` follows from the rest.
  /// Errors  Fault::kFormat where the window does not fit once.
  WindowAxis resolve(size_t axis, size_t count, size_t extent, size_t kernel_places) const;
};

}  // namespace espalier
