#include <utility>

#include "lib/ops/epilogue.h"
#include "lib/ops/fold.h"
#include "lib/ops/multiply.h"
#include "lib/ops/op_util.h"
#include "lib/ops/weight_product.h"

namespace espalier {
namespace {

// Either side may be packed; a left one only as a plain matrix (fold_matmul).
bool takes_packed(const Node&, size_t input) { return input < 2; }

std::vector<WeightProducts::Piece> part_by_part(const Fold& fold) {
  std::vector<WeightProducts::Piece> pieces;
  for (size_t part = 0; part < fold.parts; ++part) pieces.push_back({part, 1});
  return pieces;
}

// NumPy's matmul: vectors become matrices for the product, leading axes broadcast.
struct Extents {
  Dims output, batch;
  Strides a_batch, b_batch;  // in matrices
  size_t m, k, n, batches;

  Extents(const Dims& a, const Dims& b) {
    if (a.rank() == 0 || b.rank() == 0) fail("a product of {} and {}", to_string(a), to_string(b));
    const bool a_vector = a.rank() == 1, b_vector = b.rank() == 1;
    m = a_vector ? 1 : static_cast<size_t>(a[a.rank() - 2]);
    k = static_cast<size_t>(a[a.rank() - 1]);
    n = b_vector ? 1 : static_cast<size_t>(b[b.rank() - 1]);
    if (static_cast<size_t>(b[b_vector ? 0 : b.rank() - 2]) != k) {
      fail("inner extents differ: {} times {}", to_string(a), to_string(b));
    }
    const Dims a_lead = leading(a), b_lead = leading(b);
    batch = broadcast(a_lead, b_lead);
    a_batch = broadcast_strides(a_lead, batch);
    b_batch = broadcast_strides(b_lead, batch);
    batches = checked_count(batch);
    output = batch;
    if (!a_vector) output.push_back(static_cast<int64_t>(m));
    if (!b_vector) output.push_back(static_cast<int64_t>(n));
  }

  static Dims leading(const Dims& dims) {
    Dims result;
    for (size_t i = 0; i + 2 < dims.rank(); ++i) result.push_back(dims[i]);
    return result;
  }

  // Which matrix of a side belongs to output matrix `index`.
  size_t matrix(const Strides& strides, size_t index) const {
    ptrdiff_t result = 0;
    for (size_t i = batch.rank(); i-- > 0;) {
      const auto extent = static_cast<size_t>(batch[i]);
      result += static_cast<ptrdiff_t>(index % extent) * strides[i];
      index /= extent;
    }
    return static_cast<size_t>(result);
  }
};

// Whether all matrices of A meet the same one of B: then they are one tall matrix.
bool is_tall(const Extents& extents, const Dims& a, const Dims& b) {
  return Extents::leading(b).count() == 1 && Extents::leading(a).count() == extents.batches;
}

Run prepare_right(const PrepareContext& context) {
  const bool biased = context.node.domain == kFusedDomain && context.names_input(2);
  return [weight = WeightProducts(context, 1, part_by_part), biased](RunContext& run) {
    const Dims &a = run.input(0).dims, &b = run.input(1).dims;
    const Extents e(a, b);
    const float* x = f32_of(run, 0);
    float* y = f32_output(run, 0, e.output);
    if (checked_count(e.output) == 0) return;
    const auto made = weight.get(run);
    const float* bias = biased ? f32_of(run, 2) : nullptr;
    if (biased && run.input(2).count() != e.n) fail("{} biases", run.input(2).count());
    if (is_tall(e, a, b)) {
      made->products[0]->run(x, Features::kInner, e.batches * e.m, bias, y, run.pool());
      return;
    }
    for (size_t i = 0; i < e.batches; ++i) {
      const SharedProduct& product = made->products[e.matrix(e.b_batch, i)];
      product->run(x + e.matrix(e.a_batch, i) * e.m * e.k, Features::kInner, e.m, bias,
                   y + i * e.m * e.n, run.pool());
    }
  };
}

Run prepare_left(const PrepareContext& context) {
  return [weight = WeightProducts(context, 0, part_by_part)](RunContext& run) {
    const Extents e(run.input(0).dims, run.input(1).dims);
    const float* x = f32_of(run, 1);
    float* y = f32_output(run, 0, e.output);
    if (checked_count(e.output) == 0) return;
    const auto made = weight.get(run);
    for (size_t i = 0; i < e.batches; ++i) {
      made->products[0]->run(x + e.matrix(e.b_batch, i) * e.k * e.n, Features::kOuter, e.n, nullptr,
                             y + i * e.m * e.n, run.pool());
    }
  };
}

template <typename T>
void multiply_changing(RunContext& run) {
  const Dims &a = run.input(0).dims, &b = run.input(1).dims;
  const DType dtype = run.input(0).dtype;
  if (run.input(1).dtype != dtype) fail("inputs are of several types");
  const Extents e(a, b);
  const T *left = run.input(0).data<T>(), *right = run.input(1).data<T>();
  T* y = run.output(0, dtype, e.output).data<T>();
  if (checked_count(e.output) == 0) return;
  if (is_tall(e, a, b)) {
    return multiply<T>(left, false, right, false, {e.batches * e.m, e.k, e.n}, y, run.pool());
  }
  for (size_t i = 0; i < e.batches; ++i) {
    multiply<T>(left + e.matrix(e.a_batch, i) * e.m * e.k, false,
                right + e.matrix(e.b_batch, i) * e.k * e.n, false, {e.m, e.k, e.n},
                y + i * e.m * e.n, run.pool());
  }
}

Run prepare_both(const PrepareContext&) {
  return [](RunContext& run) {
    const DType dtype = run.input(0).dtype;
    if (!with_float(dtype, [&](auto zero) { multiply_changing<decltype(zero)>(run); })) {
      unsupported_type(dtype);
    }
  };
}

bool folds(const PrepareContext& context, size_t input) {
  const Weight* weight = context.constant(input);
  return weight != nullptr && weight->dtype() != DType::kF64 &&
         fold_matmul(context.node, input, weight->shape()).has_value();
}

Run prepare(const PrepareContext& context) {
  if (folds(context, 1)) return prepare_right(context);
  if (folds(context, 0)) return prepare_left(context);
  return prepare_both(context);
}

// The product of com.microsoft: alpha times A B, where each may be given with its last two axes
// exchanged.
struct Exchanged {
  bool a, b;
  float alpha;

  explicit Exchanged(const Node& node)
      : a(int_attribute(node, "transA", 0) != 0),
        b(int_attribute(node, "transB", 0) != 0),
        alpha(float_attribute(node, "alpha", 1)) {
    for (const char* name : {"transBatchA", "transBatchB"}) {
      if (int_attribute(node, name, 0) != 0) unsupported("{} is not supported", name);
    }
  }

  static Dims dims(const Dims& given, bool exchanged) {
    Dims result = given;
    if (exchanged && given.rank() > 1)
      std::swap(result[given.rank() - 1], result[given.rank() - 2]);
    return result;
  }
};

std::optional<Fold> fold_exchanged(const Node& node, size_t input, const Shape& shape) {
  if (input != 1 || int_attribute(node, "transBatchB", 0) != 0) return std::nullopt;
  std::optional<Fold> fold = fold_matmul(node, input, shape);
  if (!fold || int_attribute(node, "transB", 0) == 0) return fold;
  return Fold{fold->parts, fold->cols, fold->rows, false};
}

// A as [.., m, k], in memory of the run where its axes are exchanged.
const float* left_of(RunContext& run, const Exchanged& how, const Extents& e, size_t matrices) {
  const float* x = f32_of(run, 0);
  if (!how.a || run.input(0).dims.rank() < 2) return x;
  float* result = run.scratch_f32(matrices * e.m * e.k);
  const auto m = static_cast<int64_t>(e.m), k = static_cast<int64_t>(e.k);
  copy_strided(sizeof(float), {static_cast<int64_t>(matrices), m, k},
               reinterpret_cast<const std::byte*>(x), {m * k, 1, m},
               reinterpret_cast<std::byte*>(result), {m * k, k, 1});
  return result;
}

Run prepare_exchanged_right(const PrepareContext& context) {
  return [how = Exchanged(context.node),
          weight = WeightProducts(context, 1, part_by_part)](RunContext& run) {
    const Dims a = Exchanged::dims(run.input(0).dims, how.a);
    const Dims b = Exchanged::dims(run.input(1).dims, how.b);
    const Extents e(a, b);
    float* y = f32_output(run, 0, e.output);
    const size_t count = checked_count(e.output);
    if (count == 0) return;
    const auto made = weight.get(run);
    const float* x = left_of(run, how, e, Extents::leading(a).count());
    for (size_t i = 0; i < e.batches; ++i) {
      made->products[e.matrix(e.b_batch, i)]->run(x + e.matrix(e.a_batch, i) * e.m * e.k,
                                                  Features::kInner, e.m, nullptr, y + i * e.m * e.n,
                                                  run.pool());
    }
    for (size_t i = 0; i < count; ++i) y[i] *= how.alpha;
  };
}

template <typename T>
void multiply_exchanged(RunContext& run, const Exchanged& how) {
  if (run.input(1).dtype != run.input(0).dtype) fail("inputs are of several types");
  const Extents e(Exchanged::dims(run.input(0).dims, how.a),
                  Exchanged::dims(run.input(1).dims, how.b));
  const T *left = run.input(0).data<T>(), *right = run.input(1).data<T>();
  T* y = run.output(0, run.input(0).dtype, e.output).template data<T>();
  const size_t count = checked_count(e.output);
  if (count == 0) return;
  const bool a = how.a && run.input(0).dims.rank() > 1, b = how.b && run.input(1).dims.rank() > 1;
  for (size_t i = 0; i < e.batches; ++i) {
    multiply<T>(left + e.matrix(e.a_batch, i) * e.m * e.k, a,
                right + e.matrix(e.b_batch, i) * e.k * e.n, b, {e.m, e.k, e.n}, y + i * e.m * e.n,
                run.pool());
  }
  for (size_t i = 0; i < count; ++i) y[i] *= static_cast<T>(how.alpha);
}

Run prepare_exchanged(const PrepareContext& context) {
  const Weight* weight = context.constant(1);
  if (weight != nullptr && weight->dtype() != DType::kF64 &&
      fold_exchanged(context.node, 1, weight->shape()))
    return prepare_exchanged_right(context);
  return [how = Exchanged(context.node)](RunContext& run) {
    const DType dtype = run.input(0).dtype;
    if (!with_float(dtype, [&](auto zero) { multiply_exchanged<decltype(zero)>(run, how); }))
      unsupported_type(dtype);
  };
}

}  // namespace

extern const Operator microsoft_matmul_operator;
constinit const Operator microsoft_matmul_operator{
    .name = "FusedMatMul",
    .fold = fold_exchanged,
    .takes_packed = [](const Node&, size_t input) { return input == 1; },
    .prepare = prepare_exchanged,
    .half_as_f32 = true,
    .domain = "com.microsoft"};

constinit const Operator matmul_operator{.name = "MatMul",
                                         .fold = fold_matmul,
                                         .takes_packed = takes_packed,
                                         .prepare = prepare,
                                         .half_as_f32 = true};

// MatMul by a constant with a bias [N] as input 2, and an epilogue.
constinit const Operator fused_matmul_operator{
    .name = "MatMul",
    .fold = fold_matmul,
    .takes_packed = takes_packed,
    .prepare =
        [](const PrepareContext& context) {
          if (!folds(context, 1)) unsupported("a fused product requires a constant weight");
          return with_epilogue(prepare_right(context), context.node);
        },
    .domain = kFusedDomain};

}  // namespace espalier
