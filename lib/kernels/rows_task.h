#pragma once

#include "lib/kernels/block_rows.h"

namespace espalier {

/// Block rows first .. last - 1 of Y = W X + bias, one to four outputs at a time; w by order_rows.
/// One sample: panel is x [padded_k] and width 1. Else panel is [padded_k, width], of whose samples
/// the first `samples` count. Output o of sample s is y[o * y_output + s * y_sample].
struct RowsTask {
  const BlockRows* w;
  size_t first, last;
  const float* panel;
  size_t width, samples;
  const float* bias;  ///< null: none
  float* y;
  size_t y_output, y_sample;
};

}  // namespace espalier
