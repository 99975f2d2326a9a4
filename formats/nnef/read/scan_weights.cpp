#include "formats/nnef/read/scan_weights.h"

#include <cstring>
#include <span>

#include "formats/nnef/read/producers.h"

namespace espalier::nnef {
namespace {

std::optional<int64_t> one_integer(const GraphBuilder& graph, const Node& node, size_t input) {
  const TensorRef tensor = graph.tensor(node.inputs[input]);
  if (tensor.constant == nullptr || tensor.constant->dense() == nullptr) return std::nullopt;
  const std::vector<int64_t> values = to_i64(*tensor.constant->dense());
  if (values.size() != 1) return std::nullopt;
  return values[0];
}

// Adds constants of `rows` elements to `sum`.
void add_biases(const std::vector<TensorRef>& biases, std::span<float> sum) {
  for (const TensorRef& bias : biases) {
    const Tensor* dense = bias.constant == nullptr ? nullptr : bias.constant->dense();
    const bool fits = dense != nullptr && is_float(dense->dtype()) &&
                      (dense->count() == sum.size() || dense->count() == 1);
    if (!fits) throw NotTranslated{};
    const std::vector<float> values = to_f32(*dense);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += values[values.size() == 1 ? 0 : i];
  }
}

}  // namespace

// Follows the producers backwards: [Transpose or Reshape], then MatMul or Gemm with a constant W.
std::optional<Projection> projection(GraphBuilder& graph, const TensorRef& tensor) {
  bool swapped = false;
  const Node* node = graph.producer(tensor);
  if (node != nullptr && node->op == "Transpose" && node->domain.empty()) {
    if (ints_attribute(*node, "perm", {}) != std::vector<int64_t>{1, 0, 2}) return std::nullopt;
    swapped = true;
    node = graph.producer({node->inputs[0], nullptr});
  }
  bool merged = false;
  if (node != nullptr && node->op == "Reshape" && node->domain.empty() && !swapped) {
    merged = true;
    node = graph.producer({node->inputs[0], nullptr});
  }
  const bool product = node != nullptr && node->domain.empty() && node->inputs.size() == 2 &&
                       (node->op == "MatMul" || (merged && node->op == "Gemm"));
  if (!product) return std::nullopt;
  const bool turned = int_attribute(*node, "transB", 0) != 0;
  TensorRef x = graph.tensor(node->inputs[0]);
  const TensorRef w = graph.tensor(node->inputs[1]);
  if (merged) {
    const Node* merge = producer_of(graph, x, "Reshape");
    if (merge == nullptr) return std::nullopt;
    x = graph.tensor(merge->inputs[0]);
    const std::optional<Shape> from = graph.shape(x), to = graph.shape(tensor);
    const bool same = from && to && from->size() == 3 && to->size() == 3 &&
                      (*from)[0] == (*to)[0] && (*from)[1] == (*to)[1] && (*from)[0] > 0 &&
                      (*from)[1] > 0;
    if (!same) return std::nullopt;
  }
  if (w.constant == nullptr || w.constant->shape.size() != 2 || graph.rank(x) != 3) {
    return std::nullopt;
  }
  return Projection{swapped ? transpose(graph, x, {1, 0, 2}) : x,
                    {kNoValue, turned ? w.constant : transposed(w.constant)}};
}

std::optional<TensorRef> halves_of(const GraphBuilder& graph, const TensorRef& bias, int64_t rows) {
  const Node* add = producer_of(graph, bare(graph, bias), "Add");
  if (add == nullptr) return std::nullopt;
  std::optional<TensorRef> whole;
  for (size_t i = 0; i < 2; ++i) {
    const Node* slice = producer_of(graph, {add->inputs[i], nullptr}, "Slice");
    if (slice == nullptr || slice->inputs.size() != 4) return std::nullopt;
    const TensorRef source = graph.tensor(slice->inputs[0]);
    const int64_t begin = static_cast<int64_t>(i) * rows;
    const bool half = source.constant != nullptr && source.constant->shape == Shape{1, 2 * rows} &&
                      one_integer(graph, *slice, 1) == begin &&
                      one_integer(graph, *slice, 2).value_or(0) >= begin + rows &&
                      one_integer(graph, *slice, 3) == 1;
    const bool fits = half && (i == 1 || one_integer(graph, *slice, 2) == rows) &&
                      (!whole || whole->constant == source.constant);
    if (!fits) return std::nullopt;
    whole = source;
  }
  return whole;
}

std::optional<TensorRef> with_zero_half(const TensorRef& bias, int64_t rows) {
  if (bias.constant == nullptr) return std::nullopt;
  const Tensor* values = bias.constant->dense();
  if (values == nullptr || values->count() != static_cast<size_t>(rows)) return std::nullopt;
  Tensor whole = Tensor::zeros(values->dtype(), {1, 2 * rows});
  std::memcpy(whole.mutable_bytes().data(), values->bytes().data(), values->bytes().size());
  const ConstantPtr constant = make_constant(bias.constant->name, std::move(whole));
  constant->has_label = bias.constant->has_label;
  return TensorRef{kNoValue, constant};
}

TensorRef below_each_other(const std::vector<TensorRef>& parts, int64_t rows, int64_t cols) {
  if (parts.size() == 1) return parts[0];
  Tensor whole;
  size_t offset = 0;
  for (const TensorRef& part : parts) {
    const Tensor* dense = part.constant == nullptr ? nullptr : part.constant->dense();
    const bool fits = dense != nullptr && is_float(dense->dtype()) &&
                      dense->count() == element_count(Shape{rows, cols}) &&
                      (offset == 0 || dense->dtype() == whole.dtype());
    if (!fits) throw NotTranslated{};
    if (offset == 0) {
      const auto count = static_cast<int64_t>(parts.size());
      whole = Tensor::zeros(dense->dtype(), {count * rows, cols});
    }
    std::memcpy(whole.mutable_bytes().data() + offset, dense->bytes().data(),
                dense->bytes().size());
    offset += dense->bytes().size();
  }
  const ConstantPtr constant = make_constant(parts[0].constant->name, std::move(whole));
  constant->has_label = parts[0].constant->has_label;
  return {kNoValue, constant};
}

TensorRef both_biases(const ScanStep& step, const std::vector<std::vector<TensorRef>>& of_x,
                      int64_t rows, DType dtype) {
  const size_t gates = step.gates.size(), part = static_cast<size_t>(rows) / gates;
  std::vector<float> values(2 * static_cast<size_t>(rows), 0.0F);
  for (size_t i = 0; i < gates; ++i) {
    const std::span<float> sum = std::span(values).subspan(i * part, part);
    add_biases(of_x[i], sum);
    add_biases(step.gates[i].biases, sum);
  }
  if (step.held) {
    const size_t first = static_cast<size_t>(rows) + (gates - 1) * part;
    add_biases(step.held->biases, std::span(values).subspan(first, part));
  }
  return {kNoValue, make_constant("bias", from_f32(values, dtype, {2 * rows}))};
}

}  // namespace espalier::nnef
