#include <algorithm>

#include "lib/kernels/elementwise.h"
#include "lib/kernels/multiply_matrices.h"
#include "lib/ops/fold.h"
#include "lib/ops/op_util.h"
#include "lib/ops/weight_product.h"

namespace espalier {
namespace {

struct Attributes {
  bool transpose_a, transpose_b;
  float alpha, beta;

  explicit Attributes(const Node& node)
      : transpose_a(int_attribute(node, "transA", 0) != 0),
        transpose_b(int_attribute(node, "transB", 0) != 0),
        alpha(float_attribute(node, "alpha", 1)),
        beta(float_attribute(node, "beta", 1)) {}
};

bool takes_packed(const Node&, size_t input) { return input == 1; }

// y = alpha * y + beta * C, C broadcast to [m, n].
void add_scaled(RunContext& run, const Attributes& attributes, size_t m, size_t n, float* y) {
  if (attributes.alpha != 1) multiply({y, m * n}, attributes.alpha, {y, m * n});
  if (!run.has_input(2) || attributes.beta == 0) return;
  const float* c = f32_of(run, 2);
  const Dims out{static_cast<int64_t>(m), static_cast<int64_t>(n)};
  const Dims& dims = run.input(2).dims;
  if (!(broadcast(dims, out) == out)) {
    fail("C of shape {} for an output of {}", to_string(dims), to_string(out));
  }
  const Strides stride = broadcast_strides(dims, out);
  for (size_t i = 0; i < m; ++i) {
    for (size_t j = 0; j < n; ++j) {
      y[i * n + j] +=
          attributes.beta *
          c[static_cast<ptrdiff_t>(i) * stride[0] + static_cast<ptrdiff_t>(j) * stride[1]];
    }
  }
}

// C as one value per output, added by the product itself; null where it is not that simple.
const float* plain_bias(const RunContext& run, const Attributes& attributes, size_t n) {
  if (attributes.alpha != 1 || attributes.beta != 1 || !run.has_input(2)) return nullptr;
  const Dims& dims = run.input(2).dims;
  const bool one_row =
      dims == Dims{static_cast<int64_t>(n)} || dims == Dims{1, static_cast<int64_t>(n)};
  return one_row ? f32_of(run, 2) : nullptr;
}

const float* turned_round(RunContext& run, const float* a, int64_t rows, int64_t cols) {
  float* result = run.scratch_f32(static_cast<size_t>(rows * cols));
  copy_strided(sizeof(float), {cols, rows}, reinterpret_cast<const std::byte*>(a), {1, cols},
               reinterpret_cast<std::byte*>(result), {rows, 1});
  return result;
}

std::vector<WeightProducts::Piece> all_parts(const Fold& fold) { return {{0, fold.parts}}; }

Run prepare(const PrepareContext& context) {
  const Attributes attributes(context.node);
  const bool constant = context.constant(1) != nullptr;
  return [attributes, constant, weight = WeightProducts(context, 1, all_parts)](RunContext& run) {
    const Dims &a = run.input(0).dims, &b = run.input(1).dims;
    if (a.rank() != 2 || b.rank() != 2) fail("{} times {}", to_string(a), to_string(b));
    const int64_t m = a[attributes.transpose_a ? 1 : 0], k = a[attributes.transpose_a ? 0 : 1];
    const int64_t n = b[attributes.transpose_b ? 0 : 1];
    if (b[attributes.transpose_b ? 1 : 0] != k) {
      fail("inner extents differ: {} times {}", to_string(a), to_string(b));
    }
    const auto rows = static_cast<size_t>(m), outputs = static_cast<size_t>(n);
    const float* x = f32_of(run, 0);
    float* y = f32_output(run, 0, {m, n});
    if (rows * outputs == 0) return;
    if (!constant || k == 0) {
      multiply_matrices({x, attributes.transpose_a}, {f32_of(run, 1), attributes.transpose_b}, rows,
                        static_cast<size_t>(k), outputs, y, run.pool());
      return add_scaled(run, attributes, rows, outputs, y);
    }
    if (attributes.transpose_a) x = turned_round(run, x, a[0], a[1]);
    const float* bias = plain_bias(run, attributes, outputs);
    weight.get(run)->products[0]->run(x, Features::kInner, rows, bias, y, run.pool());
    if (bias == nullptr) add_scaled(run, attributes, rows, outputs, y);
  };
}

}  // namespace

constinit const Operator gemm_operator{.name = "Gemm",
                                       .fold = fold_gemm,
                                       .takes_packed = takes_packed,
                                       .prepare = prepare,
                                       .half_as_f32 = true};

}  // namespace espalier
