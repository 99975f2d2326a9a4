#pragma once

#include <cstddef>

#include "lib/base/thread_pool.h"

namespace espalier {

/// A matrix as it lies in memory: row-major [rows, cols], or its transpose where `transposed`. Rows
/// as they lie are `stride` elements apart; 0: one after the other.
struct MatrixOperand {
  const float* data = nullptr;
  bool transposed = false;
  size_t stride = 0;
};

/// C = A B by oneDNN, for operands that change with every run: A [m, k], B [k, n], C [m, n], all
/// dense and row-major. C must not overlap the operands. With k = 0, C is all zeros.
void multiply_matrices(MatrixOperand a, MatrixOperand b, size_t m, size_t k, size_t n, float* c,
                       ThreadPool& pool);

/// C = alpha A B for rows of C that lie `stride` elements apart, on the calling thread.
void multiply_strided(MatrixOperand a, MatrixOperand b, size_t m, size_t k, size_t n, float alpha,
                      float* c, size_t stride);

}  // namespace espalier
