#pragma once

#include <cstddef>

namespace espalier {

/// to[c * to_stride + r] = from[r * from_stride + c] for r < rows, c < cols, by the instruction set
/// in use. The two must not overlap.
void transpose(const float* from, size_t rows, size_t cols, size_t from_stride, float* to,
               size_t to_stride);

}  // namespace espalier
