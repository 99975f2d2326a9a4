#pragma once

#include "lib/kernels/int8/int8_rows.h"

namespace espalier {

inline constexpr size_t kTileSamples = 16;  ///< a multiple of every vector of i32

/// Samples as bytes. Samples together: [k, 16] for blocks of one input, else [k / 4, 16, 4].
/// Features together: [n, padded_k].
struct Int8Samples {
  uint8_t* bytes;
  float* steps;  ///< per sample; NaN where it cannot be rounded, and its bytes mean nothing
};

/// Samples 0 .. n - 1 of x [n, k].
struct QuantizeRows {
  const float* x;
  size_t n, k, padded_k;
  Int8Samples to;
};

/// 16 samples: feature f of sample s is x[f * stride + s].
struct QuantizeTile {
  const float* x;
  size_t stride, k, padded_k;
  bool by_fours;
  Int8Samples to;
};

/// Block rows first .. last - 1 for n samples, features together; y [n, outputs].
struct Int8InnerTask {
  const Int8Rows* w;
  size_t first, last, n;
  Int8Samples samples;
  const float* x;  ///< [n, k], for the diagonal
  const float* bias;
  float* y;
};

/// Block rows first .. last - 1 for up to 16 samples of a tile. Output o of sample s is
/// y[o * y_stride + s].
struct Int8OuterTask {
  const Int8Rows* w;
  size_t first, last, n;
  Int8Samples samples;
  const float* x;  ///< as QuantizeTile, for the diagonal
  size_t x_stride;
  const float* bias;
  float* y;
  size_t y_stride;
};

/// Rounds samples to bytes, by a step for each sample.
void quantize(const QuantizeRows& task);
void quantize(const QuantizeTile& task);

/// Y = W X + bias of what the task names; `dot`: by dot instructions, which must be there.
void int8_inner(const Int8InnerTask& task, bool dot);
void int8_outer(const Int8OuterTask& task, bool dot);

}  // namespace espalier
