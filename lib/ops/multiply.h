#pragma once

#include <algorithm>

#include "lib/base/thread_pool.h"
#include "lib/kernels/dense/multiply_matrices.h"

namespace espalier {

struct ProductExtents {
  size_t m, k, n;
};

/// C [m, n] = A B for operands known only in a run; a transposed one lies as its transpose. f32 by
/// oneDNN, f64 by plain loops: it is rare, and nothing is tuned for it.
template <typename T>
void multiply(const T* a, bool a_transposed, const T* b, bool b_transposed, ProductExtents e, T* c,
              ThreadPool& pool);

template <>
inline void multiply(const float* a, bool a_transposed, const float* b, bool b_transposed,
                     ProductExtents e, float* c, ThreadPool& pool) {
  multiply_matrices({a, a_transposed}, {b, b_transposed}, e.m, e.k, e.n, c, pool);
}

template <>
inline void multiply(const double* a, bool a_transposed, const double* b, bool b_transposed,
                     ProductExtents e, double* c, ThreadPool&) {
  std::fill_n(c, e.m * e.n, 0.0);
  for (size_t i = 0; i < e.m; ++i) {
    for (size_t p = 0; p < e.k; ++p) {
      const double left = a[a_transposed ? p * e.m + i : i * e.k + p];
      for (size_t j = 0; j < e.n; ++j) {
        c[i * e.n + j] += left * b[b_transposed ? j * e.k + p : p * e.n + j];
      }
    }
  }
}

}  // namespace espalier
