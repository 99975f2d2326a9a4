#include <algorithm>

#include "lib/ops/epilogue.h"
#include "lib/ops/fold.h"
#include "lib/ops/multiply.h"
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
template <typename T>
void add_scaled(RunContext& run, const Attributes& attributes, size_t m, size_t n, T* y) {
  if (attributes.alpha != 1) {
    for (size_t i = 0; i < m * n; ++i) y[i] *= static_cast<T>(attributes.alpha);
  }
  if (!run.has_input(2) || attributes.beta == 0) return;
  if (run.input(2).dtype != run.input(0).dtype) fail("inputs are of several types");
  const T* c = run.input(2).data<T>();
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

// Rows, inner extent and columns of the product.
ProductExtents extents_of(const RunContext& run, const Attributes& attributes) {
  const Dims &a = run.input(0).dims, &b = run.input(1).dims;
  if (a.rank() != 2 || b.rank() != 2) fail("{} times {}", to_string(a), to_string(b));
  const int64_t m = a[attributes.transpose_a ? 1 : 0], k = a[attributes.transpose_a ? 0 : 1];
  const int64_t n = b[attributes.transpose_b ? 0 : 1];
  if (b[attributes.transpose_b ? 1 : 0] != k) {
    fail("inner extents differ: {} times {}", to_string(a), to_string(b));
  }
  return {static_cast<size_t>(m), static_cast<size_t>(k), static_cast<size_t>(n)};
}

Dims output_dims(const ProductExtents& e) {
  return {static_cast<int64_t>(e.m), static_cast<int64_t>(e.n)};
}

template <typename T>
void run_changing(RunContext& run, const Attributes& attributes) {
  const ProductExtents e = extents_of(run, attributes);
  const DType dtype = run.input(0).dtype;
  if (run.input(1).dtype != dtype) fail("inputs are of several types");
  T* y = run.output(0, dtype, output_dims(e)).data<T>();
  if (e.m * e.n == 0) return;
  multiply<T>(run.input(0).data<T>(), attributes.transpose_a, run.input(1).data<T>(),
              attributes.transpose_b, e, y, run.pool());
  add_scaled<T>(run, attributes, e.m, e.n, y);
}

Run prepare_changing(const Attributes& attributes) {
  return [attributes](RunContext& run) {
    const DType dtype = run.input(0).dtype;
    if (!with_float(dtype, [&](auto zero) { run_changing<decltype(zero)>(run, attributes); })) {
      unsupported_type(dtype);
    }
  };
}

Run prepare(const PrepareContext& context) {
  const Attributes attributes(context.node);
  const Weight* b = context.constant(1);
  if (b == nullptr || b->dtype() == DType::kF64 || !fold_gemm(context.node, 1, b->shape())) {
    return prepare_changing(attributes);
  }
  return [attributes, weight = WeightProducts(context, 1, all_parts)](RunContext& run) {
    const ProductExtents e = extents_of(run, attributes);
    const float* x = f32_of(run, 0);
    float* y = f32_output(run, 0, output_dims(e));
    if (e.m * e.n == 0) return;
    const Dims& a = run.input(0).dims;
    if (attributes.transpose_a) x = turned_round(run, x, a[0], a[1]);
    const float* bias = plain_bias(run, attributes, e.n);
    weight.get(run)->products[0]->run(x, Features::kInner, e.m, bias, y, run.pool());
    if (bias == nullptr) add_scaled<float>(run, attributes, e.m, e.n, y);
  };
}

}  // namespace

constinit const Operator gemm_operator{.name = "Gemm",
                                       .fold = fold_gemm,
                                       .takes_packed = takes_packed,
                                       .prepare = prepare,
                                       .half_as_f32 = true};

constinit const Operator fused_gemm_operator{
    .name = "Gemm",
    .fold = fold_gemm,
    .takes_packed = takes_packed,
    .prepare =
        [](const PrepareContext& context) { return with_epilogue(prepare(context), context.node); },
    .domain = kFusedDomain};

}  // namespace espalier
