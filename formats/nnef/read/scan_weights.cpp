#include "formats/nnef/read/scan_weights.h"

#include <algorithm>
#include <cstring>
#include <map>

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

using Matrix = RecurrentStep::Matrix;

// X and W of a tensor [T, N, gates * H] that is X W^T.
struct Projection {
  TensorRef x, w;
};

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

// B of ONNX where its halves are slices of one constant [1, 2 * rows].
std::optional<TensorRef> joined_halves(const GraphBuilder& graph, const TensorRef& first,
                                       const TensorRef& second, int64_t rows) {
  std::optional<TensorRef> whole;
  for (size_t i = 0; i < 2; ++i) {
    const Node* slice = producer_of(graph, bare(graph, i == 0 ? first : second), "Slice");
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

// The same where `bias` is the sum of the halves.
std::optional<TensorRef> halves_of(const GraphBuilder& graph, const TensorRef& bias, int64_t rows) {
  const Node* add = producer_of(graph, bare(graph, bias), "Add");
  if (add == nullptr) return std::nullopt;
  const TensorRef first{add->inputs[0], nullptr}, second{add->inputs[1], nullptr};
  const std::optional<TensorRef> whole = joined_halves(graph, first, second, rows);
  return whole ? whole : joined_halves(graph, second, first, rows);
}

// B of ONNX from the sum of both biases: the sum as the first half, zeros as the second.
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

// Constants [rows, cols] (extents of 1 in front) stacked; a single one is returned unchanged.
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

// A part of a constant matrix as [outputs, inputs].
TensorRef part_of(const ScanStep& found, const Matrix& part) {
  const ConstantPtr& constant = found.constants[part.constant].constant;
  if (constant == nullptr || constant->shape.size() < 2 || part.scale != 1) throw NotTranslated{};
  const Shape& shape = constant->shape;
  const int64_t rows = shape[shape.size() - 2], columns = shape.back();
  const int64_t outputs = part.transposed ? rows : columns,
                inputs = part.transposed ? columns : rows;
  const ConstantPtr turned = part.transposed ? constant : transposed(constant);
  if (part.inputs != ColumnRange{0, inputs}) throw NotTranslated{};
  if (part.outputs == ColumnRange{0, outputs}) return {kNoValue, turned};
  if (constant->dense() == nullptr) throw NotTranslated{};
  return {kNoValue, first_axis_slice(reshaped(turned, {outputs, inputs}), part.outputs.begin,
                                     part.outputs.end)};
}

// All gates' parts below each other; those that follow each other in one constant are one part.
TensorRef stacked(const ScanStep& found, const std::vector<Matrix>& parts) {
  Matrix whole = parts[0];
  bool follow = true;
  for (size_t i = 1; i < parts.size(); ++i) {
    Matrix next = parts[i];
    follow = follow && next.outputs.begin == whole.outputs.end;
    next.outputs.begin = whole.outputs.begin;
    whole.outputs.end = next.outputs.end;
    follow = follow && next == whole;
  }
  if (follow) return part_of(found, whole);
  std::vector<TensorRef> tensors;
  for (const Matrix& part : parts) tensors.push_back(part_of(found, part));
  return below_each_other(tensors, parts[0].outputs.size(), parts[0].inputs.size());
}

// What is added to the sum of a gate: to that of x, or (held) to what a GRU's reset multiplies.
struct Bias {
  TensorRef tensor;
  ColumnRange columns;
  size_t gate = 0;
  bool held = false;
  double scale = 1;
};

class Reader {
 public:
  Reader(const Call& call, const Scan& scan, const ScanStep& found)
      : call_(call),
        graph_(call.graph),
        scan_(scan),
        found_(found),
        gates_(found.step.gates.size()),
        rows_(found.step.hidden * static_cast<int64_t>(gates_)) {}

  ScanWeights read();

 private:
  TensorRef input_weight();
  const Projection& projected(size_t input);
  TensorRef projected_weight();
  void add_biases(const RecurrentStep::Sum& sum, size_t gate, bool held);
  std::optional<TensorRef> bias();
  std::vector<const Bias*> whole_biases() const;
  TensorRef summed_biases() const;

  const Call& call_;
  GraphBuilder& graph_;
  const Scan& scan_;
  const ScanStep& found_;
  size_t gates_;
  int64_t rows_;
  ScanWeights result_;
  std::map<size_t, Projection> projections_;
  std::map<size_t, TensorRef> added_;  // to a projection, by input
  std::vector<Bias> biases_;
  std::vector<double> numbers_;  // of all gates, then those that are held
};

// X W^T of a scanned tensor, or that and a bias in either order.
const Projection& Reader::projected(size_t input) {
  const auto known = projections_.find(input);
  if (known != projections_.end()) return known->second;
  const TensorRef& x = found_.scanned(scan_, input).tensor;
  std::optional<Projection> found = projection(graph_, x);
  if (const Node* add = producer_of(graph_, x, "Add"); !found && add != nullptr) {
    const std::vector<ValueId> operands = add->inputs;
    for (size_t i = 0; i < 2 && !found; ++i) {
      found = projection(graph_, graph_.tensor(operands[i]));
      if (found) added_[input] = graph_.tensor(operands[1 - i]);
    }
  }
  if (!found) throw NotTranslated{};
  result_.taken_in.push_back(x);
  return projections_.emplace(input, *found).first->second;
}

// W of gates whose products were made before the scan.
TensorRef Reader::projected_weight() {
  std::vector<Matrix> parts;
  ScanStep of_w;  // the projections' weights as constants of a step
  std::map<size_t, size_t> places;
  for (size_t gate = 0; gate < gates_; ++gate) {
    const RecurrentStep::Sum& sum = found_.step.gates[gate];
    if (sum.x.size() != 1 || sum.x[0].scale != 1 || sum.x[0].source < found_.states)
      throw NotTranslated{};
    const RecurrentStep::Added& x = sum.x[0];
    const Projection& from = projected(x.source);
    if (gate > 0 && from.x.id != result_.x.id) throw NotTranslated{};
    result_.x = from.x;
    const auto [place, is_new] = places.emplace(x.source, of_w.constants.size());
    if (is_new) of_w.constants.push_back(from.w);
    parts.push_back({place->second, x.columns, {0, from.w.constant->shape.back()}, true, 1});
    if (const auto added = added_.find(x.source); added != added_.end())
      biases_.push_back({added->second, x.columns, gate, false, 1});
  }
  return stacked(of_w, parts);
}

// W, and X with it.
TensorRef Reader::input_weight() {
  if (!found_.step.gates[0].w) return projected_weight();
  std::vector<Matrix> parts;
  for (const RecurrentStep::Sum& sum : found_.step.gates) {
    const bool fits = sum.w && sum.input == found_.step.gates[0].input;
    if (!fits || *sum.input < found_.states) throw NotTranslated{};
    parts.push_back(*sum.w);
  }
  result_.x = found_.scanned(scan_, *found_.step.gates[0].input).tensor;
  return stacked(found_, parts);
}

void Reader::add_biases(const RecurrentStep::Sum& sum, size_t gate, bool held) {
  for (const RecurrentStep::Added& bias : sum.biases)
    biases_.push_back({found_.constants[bias.source], bias.columns, gate, held, bias.scale});
  numbers_[(held ? gates_ : 0) + gate] += sum.number;
}

// The biases that are one tensor for all gates, by their first gate; nothing where any is not.
std::vector<const Bias*> Reader::whole_biases() const {
  using Key = std::pair<const Constant*, ValueId>;
  std::map<Key, size_t> gates;
  std::vector<const Bias*> result;
  const int64_t hidden = found_.step.hidden;
  for (size_t gate = 0; gate < gates_; ++gate) {
    for (const Bias& bias : biases_) {
      if (bias.gate != gate) continue;
      const auto first = static_cast<int64_t>(gate) * hidden;
      size_t& seen = gates[{bias.tensor.constant.get(), bias.tensor.id}];
      if (bias.scale != 1 || bias.columns != ColumnRange{first, first + hidden} || seen != gate)
        return {};
      ++seen;
      if (gate + 1 == gates_) result.push_back(&bias);
    }
  }
  const bool all = std::ranges::all_of(gates, [&](auto& entry) { return entry.second == gates_; });
  return all ? result : std::vector<const Bias*>{};
}

// Biases of x W^T, then those of h R^T, in numbers.
TensorRef Reader::summed_biases() const {
  const int64_t hidden = found_.step.hidden;
  std::vector<float> values(2 * static_cast<size_t>(rows_), 0.0F);
  const auto at = [&](size_t gate, bool held) {
    return values.begin() + (held ? rows_ : 0) + static_cast<int64_t>(gate) * hidden;
  };
  for (const Bias& bias : biases_) {
    const Tensor* dense = bias.tensor.constant == nullptr ? nullptr : bias.tensor.constant->dense();
    const bool fits =
        dense != nullptr && is_float(dense->dtype()) &&
        (bias.columns.end <= static_cast<int64_t>(dense->count()) || dense->count() == 1);
    if (!fits) throw NotTranslated{};
    const std::vector<float> given = to_f32(*dense);
    const auto to = at(bias.gate, bias.held);
    for (int64_t i = 0; i < hidden; ++i) {
      const size_t from = given.size() == 1 ? 0 : static_cast<size_t>(bias.columns.begin + i);
      to[i] += static_cast<float>(bias.scale) * given[from];
    }
  }
  for (size_t i = 0; i < numbers_.size(); ++i) {
    const auto to = at(i % gates_, i >= gates_);
    std::for_each(to, to + hidden, [&](float& x) { x += static_cast<float>(numbers_[i]); });
  }
  return {kNoValue, make_constant("bias", from_f32(values, graph_.dtype(result_.x), {2 * rows_}))};
}

// B: as it was where the scan's biases are its halves or their sum, else made anew.
std::optional<TensorRef> Reader::bias() {
  const bool numbers = std::ranges::any_of(numbers_, [](double x) { return x != 0; });
  if (biases_.empty() && !numbers) return std::nullopt;
  std::vector<const Bias*> whole = numbers ? std::vector<const Bias*>{} : whole_biases();
  std::optional<TensorRef> result;
  if (whole.size() == 1 && !whole[0]->held) {
    result = halves_of(graph_, whole[0]->tensor, rows_);
    if (!result) result = with_zero_half(whole[0]->tensor, rows_);
  } else if (whole.size() == 2 && (found_.step.reset_after || !whole[0]->held)) {
    if (whole[0]->held) std::swap(whole[0], whole[1]);
    result = joined_halves(graph_, whole[0]->tensor, whole[1]->tensor, rows_);
  }
  if (!result) return summed_biases();
  for (const Bias* bias : whole) result_.taken_in.push_back(bias->tensor);
  return result;
}

ScanWeights Reader::read() {
  const RecurrentStep& step = found_.step;
  numbers_.assign(2 * gates_, 0);
  result_.w = input_weight();
  std::vector<Matrix> recurrent;
  for (size_t gate = 0; gate < gates_; ++gate) {
    const bool is_held = step.held && gate == 2;
    const std::optional<Matrix>& r = is_held ? step.held->r : step.gates[gate].r;
    if (!r) throw NotTranslated{};
    recurrent.push_back(*r);
    add_biases(step.gates[gate], gate, false);
    if (is_held) add_biases(*step.held, gate, true);
  }
  result_.r = stacked(found_, recurrent);
  result_.b = bias();
  return std::move(result_);
}

}  // namespace

ScanWeights scan_weights(const Call& call, const Scan& scan, const ScanStep& found) {
  return Reader(call, scan, found).read();
}

}  // namespace espalier::nnef
