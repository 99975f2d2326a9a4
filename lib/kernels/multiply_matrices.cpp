#include "lib/kernels/multiply_matrices.h"

#include <algorithm>

#include "lib/base/checked_math.h"
#include "lib/kernels/dnnl_call.h"
#include "lib/kernels/split_rows.h"

namespace espalier {

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
  const auto signed_n = static_cast<dnnl_dim_t>(n), signed_k = static_cast<dnnl_dim_t>(k);
  const auto multiply = [&](size_t piece) {
    keep_dnnl_on_this_thread();
    const size_t first = piece * rows;
    if (first >= m) return;
    const auto count = static_cast<dnnl_dim_t>(std::min(rows, m - first));
    const float* from = a.data + (a.transposed ? first : first * k);
    const auto status =
        dnnl_sgemm(a.transposed ? 'T' : 'N', b.transposed ? 'T' : 'N', count, signed_n, signed_k,
                   1.0F, from, a.transposed ? static_cast<dnnl_dim_t>(m) : signed_k, b.data,
                   b.transposed ? signed_k : signed_n, 0.0F, c + first * n, signed_n);
    if (status != dnnl_success) {
      throw_dnnl_error("a product of matrices", dnnl::error(status, "dnnl_sgemm did not run"));
    }
  };
  if (pieces == 1) return multiply(0);
  pool.for_each(pieces, std::function<void(size_t)>(std::ref(multiply)));
}

}  // namespace espalier
