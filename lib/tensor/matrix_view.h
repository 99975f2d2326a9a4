#pragma once

#include <cstddef>

#include "lib/tensor/tensor.h"

namespace espalier {

/// How a weight folds to `parts` matrices [rows, cols] = [outputs, inputs], stacked: one per gate
/// and direction of a GRU, LSTM or RNN, one per group of a convolution, one per leading index of a
/// batched MatMul weight, else one. Element (part, r, c) lies at part * rows * cols + r * cols + c,
/// or + c * rows + r where the weight is stored [inputs, outputs].
struct Fold {
  size_t parts = 1, rows = 0, cols = 0;
  bool transposed = false;

  size_t count() const { return parts * rows * cols; }
  size_t offset(size_t part, size_t r, size_t c) const {
    return part * rows * cols + (transposed ? c * rows + r : r * cols + c);
  }
  bool operator==(const Fold&) const = default;
};

/// A folded weight seen as f32 matrices. Does not own its elements.
struct MatrixView {
  const float* data = nullptr;
  Fold fold;

  float at(size_t part, size_t r, size_t c) const { return data[fold.offset(part, r, c)]; }
  const float* part(size_t index) const { return data + index * fold.rows * fold.cols; }
};

}  // namespace espalier
