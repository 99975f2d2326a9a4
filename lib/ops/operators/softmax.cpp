#include <algorithm>
#include <cmath>
#include <limits>

#include "lib/kernels/elementwise.h"
#include "lib/ops/op_util.h"
#include "lib/ops/run_once.h"
#include "lib/tensor/half.h"

namespace espalier {
namespace {

void softmax_row(const float* x, float* y, size_t count) {
  const float most = max_of({x, count});
  const std::span<float> row(y, count);
  add({x, count}, std::isinf(most) && most < 0 ? 0 : -most, row);
  exp(row, row);
  multiply(row, 1 / sum_of(row), row);
}

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

void log_softmax_row(const float* x, float* y, size_t count) {
  const float most = max_of({x, count});
  double sum = 0;
  for (size_t i = 0; i < count; ++i) sum += std::exp(static_cast<double>(x[i] - most));
  add({x, count}, -most - static_cast<float>(std::log(sum)), {y, count});
}

// 1 at the first largest element, else 0.
void hardmax_row(const float* x, float* y, size_t count) {
  const auto best = std::max_element(x, x + count) - x;
  std::fill_n(y, count, 0.0F);
  y[best] = 1;
}

// One row, which is not empty; x and y may be the same.
using Row = void (*)(const float*, float*, size_t);

// Up to opset 12 the input is a matrix [axes before `axis`, the rest]; from 13 on one axis counts.
template <Row row>
Run prepare(const PrepareContext& context) {
  const bool flattens = context.opset < 13;
  const int64_t axis_attribute = int_attribute(context.node, "axis", flattens ? 1 : -1);
  return [flattens, axis_attribute](RunContext& run) {
    const Dims& dims = run.input(0).dims;
    const size_t rank = dims.rank();
    if (rank == 0) fail("the input has no axes");
    const bool past_end = flattens && axis_attribute == static_cast<int64_t>(rank);
    const size_t axis = past_end ? rank : axis_of(axis_attribute, rank);
    const size_t outer = dims.product(0, axis);
    const size_t count = flattens ? dims.product(axis, rank) : static_cast<size_t>(dims[axis]);
    const size_t inner = flattens ? 1 : dims.product(axis + 1, rank);
    const float* x = f32_of(run, 0);
    float* y = f32_output(run, 0, dims);
    if (outer * count * inner == 0) return;
    if (inner == 1) {
      parallel(run.pool(), outer, 8 * count, [&](size_t begin, size_t end) {
        for (size_t i = begin; i < end; ++i) row(x + i * count, y + i * count, count);
      });
      return;
    }
    float* line = run.scratch_f32(count);
    for (size_t i = 0; i < outer * inner; ++i) {
      const size_t base = i / inner * count * inner + i % inner;
      for (size_t k = 0; k < count; ++k) line[k] = x[base + k * inner];
      row(line, line, count);
      for (size_t k = 0; k < count; ++k) y[base + k * inner] = line[k];
    }
  };
}

Run prepare_softmax(const PrepareContext& context) {
  const Run f16 =
      with_half_as_f32(prepare<rounded_softmax_row<f16_from_f32, f32_from_f16>>(context));
  const Run bf16 =
      with_half_as_f32(prepare<rounded_softmax_row<bf16_from_f32, f32_from_bf16>>(context));
  return [f16, bf16, f32 = prepare<softmax_row>(context)](RunContext& run) {
    const DType dtype = run.input(0).dtype;
    (dtype == DType::kF16 ? f16 : dtype == DType::kBF16 ? bf16 : f32)(run);
  };
}

}  // namespace

constinit const Operator softmax_operator{.name = "Softmax", .prepare = prepare_softmax};
constinit const Operator log_softmax_operator{
    .name = "LogSoftmax", .prepare = prepare<log_softmax_row>, .half_as_f32 = true};
constinit const Operator hardmax_operator{
    .name = "Hardmax", .prepare = prepare<hardmax_row>, .half_as_f32 = true};

}  // namespace espalier
