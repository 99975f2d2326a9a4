#pragma once

#include <cstddef>

#include "lib/tensor/tensor.h"

namespace espalier {

/// A dense matrix laid out for products with one vector: rows in panels of 16, a panel column by
/// column, zeros beneath the last row. Nothing is allocated by a run.
class DensePanels {
 public:
  DensePanels() = default;
  /// `weight` is row-major [rows, k].
  DensePanels(const float* weight, size_t rows, size_t k);

  /// y = W x + bias; x [k], bias [rows] or null, y [rows]. Each sum runs over k in order.
  void run(const float* x, const float* bias, float* y) const;
  /// The matrix again, row-major [rows, k].
  void unpack(float* weight) const;

  bool empty() const { return panels_.bytes().empty(); }
  size_t bytes() const { return panels_.bytes().size(); }

 private:
  size_t rows_ = 0, k_ = 0;
  Tensor panels_;  ///< f32, aligned to 64 bytes
};

}  // namespace espalier
