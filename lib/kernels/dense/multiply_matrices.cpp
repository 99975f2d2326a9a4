#include "lib/kernels/dense/multiply_matrices.h"

#include <algorithm>

#include "lib/base/checked_math.h"
#include "lib/kernels/dense/dnnl_call.h"
#include "lib/kernels/split_rows.h"

namespace espalier {

void multiply_strided(MatrixOperand a, MatrixOperand b, size_t m, size_t k, size_t n, float alpha,
                      float* c, size_t stride) {
  if (m == 0 || n == 0) return;
  if (k == 0) {
    for (size_t i = 0; i < m; ++i) std::fill_n(c + i * stride, n, 0.0F);
    return;
  }
  keep_dnnl_on_this_thread();
  const auto dim = [](size_t extent) { return static_cast<dnnl_dim_t>(extent); };
  const auto step = [&dim](const MatrixOperand& x, size_t rows, size_t cols) {
    return dim(x.stride != 0 ? x.stride : x.transposed ? rows : cols);
  };
  const auto status =
      dnnl_sgemm(a.transposed ? 'T' : 'N', b.transposed ? 'T' : 'N', dim(m), dim(n), dim(k), alpha,
                 a.data, step(a, m, k), b.data, step(b, k, n), 0.0F, c, dim(stride));
  if (status != dnnl_success) {
    throw_dnnl_error("a product of matrices", dnnl::error(status, "dnnl_sgemm did not run"));
  }
}

void multiply_matrices(MatrixOperand a, MatrixOperand b, size_t m, size_t k, size_t n, float* c,
                       ThreadPool& pool) {
  if (m == 0 || n == 0) return;
  if (k == 0) {
    std::fill_n(c, m * n, 0.0F);
    return;
  }
  // Pieces of rows by size alone, each a product of its own: results do not depend on threads.
  constexpr size_t kPieceRows = 256;
  const size_t pieces = m * k * n < kWorthThreads ? 1 : ceil_div(m, kPieceRows);
  const size_t rows = ceil_div(m, pieces);
  const auto multiply = [&](size_t piece) {
    const size_t first = piece * rows;
    if (first >= m) return;
    const size_t step = a.stride != 0 ? a.stride : a.transposed ? m : k;
    const MatrixOperand part{a.data + (a.transposed ? first : first * step), a.transposed, step};
    multiply_strided(part, b, std::min(rows, m - first), k, n, 1.0F, c + first * n, n);
  };
  if (pieces == 1) return multiply(0);
  pool.for_each(pieces, std::function<void(size_t)>(std::ref(multiply)));
}

}  // namespace espalier
