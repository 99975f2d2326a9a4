#include <algorithm>
#include <cmath>
#include <limits>

#include "lib/kernels/elementwise/elementwise.h"
#include "lib/ops/op_util.h"
#include "lib/ops/run_once.h"
#include "lib/ops/softmax_row.h"
#include "lib/tensor/half.h"

namespace espalier {

void softmax_row(const float* x, float* y, size_t count) {
  const float most = max_of({x, count});
  const std::span<float> row(y, count);
  const float sum = exp_sum({x, count}, std::isinf(most) && most < 0 ? 0 : most, row);
  multiply(row, 1 / sum, row);
}

namespace {

// Softmax in f16 or bf16 is what ONNX's function body of Softmax gives in that type: each of its
// steps is rounded.
template <auto narrow, auto widen>
void rounded_softmax_row(const float* x, float* y, size_t count) {
  const auto rounded = [](float value) { return widen(narrow(value)); };
  const float most = max_of({x, count});
  const std::span<float> row(y, count);
  add({x, count}, std::isinf(most) && most < 0 ? 0 : -most, row);
  for (float& value : row) value = rounded(value);
  exp(row, row);
  for (float& value : row) value = rounded(value);
  const float sum = rounded(sum_of(row));
  for (float& value : row) value /= sum;  // rounded when it is stored
}

// The largest element is subtracted first: x - (most + log(sum)) would lose the digits of log(sum)
// where x is large.
void log_softmax_row(const float* x, float* y, size_t count) {
  const float most = max_of({x, count});
  double sum = 0;
  for (size_t i = 0; i < count; ++i) sum += std::exp(static_cast<double>(x[i] - most));
  add({x, count}, -most, {y, count});
  add({y, count}, -static_cast<float>(std::log(sum)), {y, count});
}

void softmax_row_f64(const double* x, double* y, size_t count) {
  double most = *std::max_element(x, x + count), sum = 0;
  if (std::isinf(most) && most < 0) most = 0;
  for (size_t i = 0; i < count; ++i) sum += y[i] = std::exp(x[i] - most);
  for (size_t i = 0; i < count; ++i) y[i] /= sum;
}

void log_softmax_row_f64(const double* x, double* y, size_t count) {
  const double most = *std::max_element(x, x + count);
  double sum = 0;
  for (size_t i = 0; i < count; ++i) sum += std::exp(x[i] - most);
  const double shift = std::log(sum);
  for (size_t i = 0; i < count; ++i) y[i] = (x[i] - most) - shift;
}

// 1 at the first largest element, else 0.
template <typename T>
void hardmax_row(const T* x, T* y, size_t count) {
  const auto best = std::max_element(x, x + count) - x;
  std::fill_n(y, count, T{0});
  y[best] = 1;
}

// One row, which is not empty; x and y may be the same.
template <typename T>
using Row = void (*)(const T*, T*, size_t);

// Up to opset 12 the input is a matrix [axes before `axis`, the rest]; from 13 on one axis counts.
struct Rows {
  size_t outer, count, inner;

  Rows(const Dims& dims, int64_t axis_attribute, bool flattens) {
    const size_t rank = dims.rank();
    if (rank == 0) fail("the input has no axes");
    const bool past_end = flattens && axis_attribute == static_cast<int64_t>(rank);
    const size_t axis = past_end ? rank : axis_of(axis_attribute, rank);
    outer = dims.product(0, axis);
    count = flattens ? dims.product(axis, rank) : static_cast<size_t>(dims[axis]);
    inner = flattens ? 1 : dims.product(axis + 1, rank);
  }
};

template <typename T, Row<T> row>
void run_rows(RunContext& run, const Rows& rows) {
  const T* x = run.input(0).data<T>();
  T* y = run.output(0, dtype_of<T>(), run.input(0).dims).template data<T>();
  const auto [outer, count, inner] = rows;
  if (outer * count * inner == 0) return;
  if (inner == 1) {
    parallel(run.pool(), outer, 8 * count, [&, length = count](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) row(x + i * length, y + i * length, length);
    });
    return;
  }
  T* line = reinterpret_cast<T*>(run.scratch(count * sizeof(T)));
  for (size_t i = 0; i < outer * inner; ++i) {
    const size_t base = i / inner * count * inner + i % inner;
    for (size_t k = 0; k < count; ++k) line[k] = x[base + k * inner];
    row(line, line, count);
    for (size_t k = 0; k < count; ++k) y[base + k * inner] = line[k];
  }
}

template <Row<float> row, Row<double> row_f64>
Run prepare(const PrepareContext& context) {
  const bool flattens = context.opset < 13;
  const int64_t axis = int_attribute(context.node, "axis", flattens ? 1 : -1);
  return [flattens, axis](RunContext& run) {
    const TensorView& x = run.input(0);
    const Rows rows(x.dims, axis, flattens);
    if (x.dtype == DType::kF64) return run_rows<double, row_f64>(run, rows);
    if (x.dtype != DType::kF32) unsupported_type(x.dtype);
    run_rows<float, row>(run, rows);
  };
}

Run prepare_softmax(const PrepareContext& context) {
  const Run f16 = with_half_as_f32(
      prepare<rounded_softmax_row<f16_from_f32, f32_from_f16>, softmax_row_f64>(context));
  const Run bf16 = with_half_as_f32(
      prepare<rounded_softmax_row<bf16_from_f32, f32_from_bf16>, softmax_row_f64>(context));
  return [f16, bf16, f32 = prepare<softmax_row, softmax_row_f64>(context)](RunContext& run) {
    const DType dtype = run.input(0).dtype;
    (dtype == DType::kF16 ? f16 : dtype == DType::kBF16 ? bf16 : f32)(run);
  };
}

}  // namespace

constinit const Operator softmax_operator{.name = "Softmax", .prepare = prepare_softmax};
constinit const Operator log_softmax_operator{
    .name = "LogSoftmax",
    .prepare = prepare<log_softmax_row, log_softmax_row_f64>,
    .half_as_f32 = true};
constinit const Operator hardmax_operator{
    .name = "Hardmax",
    .prepare = prepare<hardmax_row<float>, hardmax_row<double>>,
    .half_as_f32 = true};

}  // namespace espalier
