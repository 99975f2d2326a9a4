#pragma once

#include <cstddef>

namespace espalier {

/// y = exp(x - max(x)) / sum over `count` elements; y may be x. All -infinity gives NaN, as in
/// ONNX.
void softmax_row(const float* x, float* y, size_t count);

}  // namespace espalier
