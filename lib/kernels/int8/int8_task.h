#pragma once

#include "lib/kernels/sparse/block_rows.h"

namespace espalier {

inline constexpr size_t kTileSamples = 16;  ///< a multiple of every vector of i32

/// A weight for the dot products: values as [tiles, block.rows, inputs / 4, 4]. A tile is a block,
/// or with blocks of one input four of a block row: then narrow_col holds its four inputs, and
/// zeros fill up the last tile of a block row. narrow_col counts inputs, row_start tiles.
struct Int8Rows {
  BlockRows rows;
  size_t padded_k;              ///< of rows
  std::vector<int32_t> offset;  ///< per row of each block row: -128 * sum of its values
};

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

}  // namespace espalier
