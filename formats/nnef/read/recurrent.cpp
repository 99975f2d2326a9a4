// tract_core_gru_seq, and tract_core_scan whose body is one step of a GRU, LSTM or RNN.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "formats/nnef/read/call.h"
#include "formats/nnef/read/scan.h"
#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

EvalValue tensor(TensorRef value) { return EvalValue::of_tensor(std::move(value)); }

// tract_core_gru_seq with its usual arguments, which has the batch in front of the steps.
EvalValue gru_seq(const Call& call) {
  const TensorRef x = call.tensor("x");
  const int64_t hidden = call.integer("hidden"), chunk = call.integer("chunk");
  const bool usual = (chunk == 1 || chunk == -1) && !call.logical("reset_every_turn") &&
                     call.logical("emit_y") && !call.logical("projected");
  if (!usual || call.rank(x) != 3) throw NotTranslated{};
  if (hidden < 1 || hidden > INT32_MAX) call.fail(fmt::format("hidden is {}", hidden));
  const Shape shape = call.shape(x);  // [N, T, I]
  Recurrence cell;
  cell.op = "GRU";
  cell.hidden = hidden;
  cell.reverse = chunk == -1;
  cell.w = call.tensor("w");
  cell.r = call.tensor("r");
  if (call.logical("has_bias")) cell.b = call.tensor("b");
  cell.states = {call.tensor("initial_h")};
  check_weights(call, cell, shape[2]);
  cell.x = transpose(call.graph, x, {1, 0, 2});
  cell.steps = shape[1];
  cell.batch = shape[0];
  cell.attributes = {attribute("linear_before_reset", int64_t{1})};
  const std::vector<TensorRef> outputs = make_recurrent(call, cell);
  // [T, N, H] and [1, N, H] with the batch in front.
  return EvalValue::of_list(EvalValue::Kind::tuple,
                            {tensor(transpose(call.graph, outputs[0], {1, 0, 2})),
                             tensor(transpose(call.graph, outputs[1], {1, 0, 2}))},
                            call.at);
}

}  // namespace

void check_weights(const Call& call, const Recurrence& cell, int64_t inputs) {
  const int64_t gates = cell.op == "GRU" ? 3 : cell.op == "LSTM" ? 4 : 1;
  const auto expect = [&](std::string_view name, const TensorRef& tensor, const Shape& wanted) {
    Shape shape = call.shape(tensor);
    // With the axis of directions or without.
    if (shape.size() == wanted.size() + 1 && shape[0] == 1) shape.erase(shape.begin());
    bool fits = shape.size() == wanted.size();
    for (size_t i = 0; fits && i < shape.size(); ++i) {
      fits = shape[i] == wanted[i] || shape[i] < 0 || wanted[i] < 0;
    }
    if (!fits) {
      call.fail(fmt::format("{} is {}, expected {}", name, to_string(call.shape(tensor)),
                            to_string(wanted)));
    }
  };
  expect("w", cell.w, {gates * cell.hidden, inputs});
  expect("r", cell.r, {gates * cell.hidden, cell.hidden});
  if (cell.b) expect("b", *cell.b, {2 * gates * cell.hidden});
}

namespace {

// Weights [gates * H, in] with the axis of directions that ONNX wants in front.
TensorRef with_direction(const Call& call, const TensorRef& weight, size_t gates, int64_t hidden) {
  Shape shape = call.shape(weight);
  if (shape.size() == 3) return weight;
  shape.insert(shape.begin(), 1);
  if (weight.constant == nullptr) {
    return call.graph.node("Unsqueeze", {weight, call.graph.integers("axes", {0})},
                           {call.graph.dtype(weight), shape});
  }
  const ConstantPtr raised = reshaped(weight.constant, shape);
  const Fold fold{gates, static_cast<size_t>(hidden), static_cast<size_t>(shape[2]), false};
  return {kNoValue, folded(raised, fold)};
}

// Whether a state starts at zero, which ONNX says by leaving it out.
bool is_zero_state(const Call& call, const TensorRef& state) {
  if (state.constant != nullptr) return is_zero(*state.constant);
  const Node* producer = call.graph.producer(state);
  if (producer == nullptr || !producer->domain.empty() || producer->op != "Expand") return false;
  const TensorRef value = call.graph.tensor(producer->inputs[0]);
  return value.constant != nullptr && is_zero(*value.constant);
}

}  // namespace

// Brings weights, bias and states into the shapes of ONNX, with an axis of directions in front.
std::vector<TensorRef> make_recurrent(const Call& call, const Recurrence& cell) {
  const size_t gates = cell.op == "GRU" ? 3 : cell.op == "LSTM" ? 4 : 1;
  std::vector<TensorRef> inputs = {cell.x, with_direction(call, cell.w, gates, cell.hidden),
                                   with_direction(call, cell.r, gates, cell.hidden), TensorRef{},
                                   TensorRef{}};
  if (cell.b) {
    inputs[3] = reshape(call.graph, *cell.b, {1, 2 * static_cast<int64_t>(gates) * cell.hidden});
  }
  for (const TensorRef& state : cell.states) {
    const bool zero = is_zero_state(call, state);
    if (zero) call.graph.allow_drop(state);
    TensorRef full = state;
    const Shape shape = call.shape(state);
    if (!zero && shape.size() == 2) {
      full = call.graph.node("Unsqueeze", {state, call.graph.integers("axes", {0})},
                             {call.graph.dtype(state), Shape{1, shape[0], shape[1]}});
    }
    inputs.push_back(zero ? TensorRef{} : full);
  }
  const auto missing = [](const TensorRef& one) {
    return one.constant == nullptr && one.id == kNoValue;
  };
  while (missing(inputs.back())) inputs.pop_back();

  const DType dtype = call.graph.dtype(cell.x);
  Node node;
  node.op = cell.op;
  node.attributes = cell.attributes;
  node.attributes.push_back(attribute("hidden_size", cell.hidden));
  if (cell.reverse) node.attributes.push_back(attribute("direction", std::string("reverse")));
  std::vector<OutputInfo> outputs = {{dtype, Shape{cell.steps, 1, cell.batch, cell.hidden}}};
  for (size_t i = 0; i < cell.states.size(); ++i) {
    outputs.push_back({dtype, Shape{1, cell.batch, cell.hidden}});
  }
  std::vector<TensorRef> results = call.graph.node(std::move(node), inputs, outputs);
  results[0] = call.graph.node("Squeeze", {results[0], call.graph.integers("axes", {1})},
                               {dtype, Shape{cell.steps, cell.batch, cell.hidden}});
  return results;
}

std::span<const Translator> recurrent_translators() {
  static constexpr std::array kTranslators = {
      Translator{"tract_core_gru_seq", gru_seq, "GRU Transpose Unsqueeze Squeeze Reshape"},
      Translator{"tract_core_scan", read_scan, "GRU LSTM RNN Transpose Unsqueeze Squeeze Reshape"},
  };
  return kTranslators;
}

}  // namespace espalier::nnef
