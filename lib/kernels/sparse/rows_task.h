#pragma once

#include "lib/kernels/sparse/block_rows.h"

namespace espalier {

/// Samples of a panel are padded to a multiple of this; it is a multiple of every vector length.
inline constexpr size_t kPanelStep = 16;
inline constexpr size_t kMaxPanel = 64;  ///< samples of the widest panel

/// Block rows first .. last - 1 of Y = W X for a panel of samples, samples in the lanes; w by
/// order_rows. Of a block row only the blocks begin[row] .. end[row] - 1 count, so that inputs may
/// be taken in several cuts: the first starts from bias and diagonal, the others add.
struct RowsTask {
  const BlockRows* w = nullptr;
  size_t first = 0, last = 0;
  const uint32_t *begin = nullptr, *end = nullptr;
  bool starts = true;
  const float* panel = nullptr;  ///< [padded_k, width]
  size_t width = 0;              ///< 4, 8, or a multiple of kPanelStep up to kMaxPanel
  const float* bias = nullptr;   ///< null: none
  /// Output o of sample s is y[(o - first_output) * y_stride + s]; all of `width` are written.
  float* y = nullptr;
  size_t first_output = 0, y_stride = 0;
};

/// The same for a few samples, with the inputs of a block in the lanes (block.cols a multiple of
/// 4), or one after another. Input i of sample s is x[s * x_stride + i], up to padded_k; output o
/// is y[s * y_sample + o * y_output].
struct DotsTask {
  const BlockRows* w;
  size_t first, last;
  const float* x;
  size_t samples, x_stride;
  const float* bias;
  float* y;
  size_t y_sample, y_output;
};

/// Inputs of a word of BitsTask::bits.
inline constexpr size_t kWordInputs = 64;

/// Bytes behind the values of a BitsTask that are read, but count for nothing.
inline constexpr size_t kBehindValues = 64;

/// The same for blocks of 1x1 from a bitmap: bit i % kWordInputs of word i / kWordInputs of an
/// output says whether input i has a value; values come in their order, as narrow as they are
/// stored. Inputs that have none are multiplied with zero, so that every x must be one that
/// are_small() has seen. kBehindValues bytes behind the values are read.
/// x_stride is at least words * kWordInputs, with zeros behind the last input.
struct BitsTask {
  const BlockRows* w;  ///< all but its values
  size_t first, last;
  const uint64_t* bits;  ///< [outputs, words]
  size_t words;
  const std::byte* values;
  DType dtype;         ///< of values
  const float* scale;  ///< of i8 values, one for each output; else null
  const float* x;
  size_t samples, x_stride;
  const float* bias;
  float* y;
  size_t y_sample, y_output;
};

/// The loops that do these tasks, by the instruction set in use.
void rows_tiles(const RowsTask& task);
void rows_dots(const DotsTask& task);
void rows_bits(const BitsTask& task);
/// Whether `n` samples take less time by rows_bits() than by the other loops.
bool rows_use_bits(const SparseMatrix& weight, size_t n);
/// Samples up to which they may.
inline constexpr size_t kMostBits = 4;
/// Share of values from which on they do, by the instruction set in use; `narrow`: of f16, bf16, i8.
double least_bits_density(size_t n, bool narrow);
/// Whether all numbers are below 2^100, none of them NaN; count is a multiple of kWordInputs.
bool are_small(const float* x, size_t count);

}  // namespace espalier
