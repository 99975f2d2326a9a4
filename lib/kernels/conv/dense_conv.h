#pragma once

#include <memory>

#include "lib/base/thread_pool.h"
#include "lib/kernels/conv/conv_shape.h"

namespace espalier {

/// A dense convolution by oneDNN: weights are put into its own layout once per input size, images
/// go in and out as plain NCHW. Not called by two threads at a time.
class DenseConv {
 public:
  virtual ~DenseConv() = default;

  /// Y = conv(X): x [n, channels_in, height, width], y [n, channels_out, output_extent(0, height),
  /// output_extent(1, width)]. They must not overlap. Nothing is written where y is empty.
  virtual void run(const float* x, size_t n, size_t height, size_t width, float* y,
                   ThreadPool& pool) const = 0;

  virtual size_t bytes() const = 0;  ///< of weights held
};

/// weight [channels_out, channels_in / groups, kernel], bias [channels_out] or null; both are
/// copied. With `relu`, y = max(conv(x), 0).
std::unique_ptr<const DenseConv> prepare_conv(const ConvShape& shape, const float* weight,
                                              const float* bias, bool relu = false);

}  // namespace espalier
