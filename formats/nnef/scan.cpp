// The body of a scan is run in a graph of its own, and what comes out of it is compared with the
// formula of a step:
//   LSTM  h', c' = epilogue(x + h R^T [+ b], c)        RNN  h' = a(x + h R^T [+ b])
// where x = X W^T [+ b] was computed before the loop, for all steps at once.
#include "formats/nnef/scan.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/nnef/evaluator.h"
#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

using Kind = EvalValue::Kind;

// tract writes names in `scan` as they were before they became identifiers.
std::string as_identifier(std::string name) {
  for (char& c : name) {
    const bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!fine) c = '_';
  }
  return name;
}

// Where the names of a scan's lists stand among parameters or results of its body.
size_t place_of(const Call& call, const std::vector<Parameter>& parameters,
                const std::string& name) {
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (parameters[i].name == name || parameters[i].name == as_identifier(name)) return i;
  }
  call.fail(fmt::format("the body has no {}", printable(name)));
}

// The tuples of one of a scan's lists, each of the given kinds.
std::vector<std::vector<EvalValue>> tuples(const Call& call, std::string_view name,
                                           const std::vector<Kind>& kinds) {
  const EvalValue& list = call.argument(name);
  if (!list.is_list()) call.fail(fmt::format("{} is no array", name));
  std::vector<std::vector<EvalValue>> result;
  for (const EvalValue& item : *list.items) {
    bool fits = item.is_list() && item.items->size() == kinds.size();
    for (size_t i = 0; fits && i < kinds.size(); ++i) fits = (*item.items)[i].kind == kinds[i];
    if (!fits) call.fail(fmt::format("{} holds something else than its tuples", name));
    result.push_back(*item.items);
  }
  return result;
}

// Reshapes that keep the elements in order do not matter to the formula.
TensorRef bare(const GraphBuilder& graph, TensorRef tensor) {
  for (const Node* node = graph.producer(tensor); node != nullptr; node = graph.producer(tensor)) {
    const bool plain = node->domain.empty() &&
                       (node->op == "Squeeze" || node->op == "Unsqueeze" || node->op == "Reshape");
    if (!plain) break;
    tensor = graph.tensor(node->inputs[0]);
  }
  return tensor;
}

const Node* producer_of(const GraphBuilder& graph, const TensorRef& tensor, std::string_view op,
                        std::string_view domain = "") {
  const Node* node = graph.producer(tensor);
  return node != nullptr && node->op == op && node->domain == domain ? node : nullptr;
}

// The summands of a sum, without reshapes around them.
std::vector<TensorRef> summands(const GraphBuilder& graph, const TensorRef& tensor) {
  std::vector<TensorRef> todo = {tensor}, result;
  while (!todo.empty()) {
    const TensorRef one = bare(graph, todo.back());
    todo.pop_back();
    if (const Node* add = producer_of(graph, one, "Add"); add != nullptr && result.size() < 8) {
      todo.push_back(graph.tensor(add->inputs[1]));
      todo.push_back(graph.tensor(add->inputs[0]));
    } else {
      result.push_back(one);
    }
  }
  return result;
}

// Whether an einsum is h R^T: the last axis of h with the last of R [n, k], the result ends in n.
bool is_product_with_transposed(const std::string& equation) {
  const size_t comma = equation.find(','), arrow = equation.find("->");
  if (comma == std::string::npos || arrow == std::string::npos || arrow < comma) return false;
  const std::string h = equation.substr(0, comma);
  const std::string r = equation.substr(comma + 1, arrow - comma - 1);
  const std::string out = equation.substr(arrow + 2);
  return h.size() >= 2 && r.size() == 2 && out.size() >= 2 && h.back() == r[1] &&
         out.back() == r[0] && r[0] != r[1] && out[out.size() - 2] == h[h.size() - 2];
}

bool is_recurrent_product(const GraphBuilder& graph, const TensorRef& tensor, ValueId h,
                          ValueId r) {
  if (const Node* product = producer_of(graph, tensor, "MatMul")) {
    const Node* turned = producer_of(graph, {product->inputs[1], nullptr}, "Transpose");
    return bare(graph, {product->inputs[0], nullptr}).id == h && turned != nullptr &&
           bare(graph, {turned->inputs[0], nullptr}).id == r;
  }
  const Node* product = producer_of(graph, tensor, "Einsum");
  return product != nullptr && product->inputs.size() == 2 &&
         bare(graph, {product->inputs[0], nullptr}).id == h && product->inputs[1] == r &&
         is_product_with_transposed(string_attribute(*product, "equation", ""));
}

// The lists of the invocation, sorted out.
struct Scan {
  const Fragment* body = nullptr;
  TensorRef x;
  size_t x_place = 0;
  bool reverse = false;
  struct State {
    TensorRef initial;
    size_t parameter, result;
  };
  std::vector<State> states;
  struct Constant {
    TensorRef value;
    size_t parameter;
  };
  std::vector<Constant> constants;
  struct Output {
    size_t result;
    bool full;
  };
  std::vector<Output> outputs;
};

Scan scan_of(const Call& call) {
  Scan scan;
  scan.body = call.reading.fragment(call.text("body"));
  if (scan.body == nullptr || !scan.body->body) {
    call.fail(fmt::format("there is no fragment {}", printable(call.text("body"))));
  }
  const auto& parameters = scan.body->parameters;
  const auto& results = scan.body->results;
  const auto scanned =
      tuples(call, "scan", {Kind::string, Kind::tensor, Kind::integer, Kind::integer});
  if (scanned.size() != 1 || call.integer("skip") != 0 || call.logical("reset_every_turn") ||
      call.logical("external_state")) {
    throw NotTranslated{};
  }
  const int64_t step = scanned[0][3].integer;
  if (scanned[0][2].integer != 0 || (step != 1 && step != -1)) throw NotTranslated{};
  scan.x = scanned[0][1].tensor;
  scan.x_place = place_of(call, parameters, scanned[0][0].text);
  scan.reverse = step == -1;
  for (const auto& state : tuples(call, "state", {Kind::string, Kind::tensor, Kind::string})) {
    scan.states.push_back({state[1].tensor, place_of(call, parameters, state[0].text),
                           place_of(call, results, state[2].text)});
  }
  for (const auto& constant : tuples(call, "full", {Kind::string, Kind::tensor})) {
    scan.constants.push_back({constant[1].tensor, place_of(call, parameters, constant[0].text)});
  }
  for (const auto& output :
       tuples(call, "output", {Kind::string, Kind::string, Kind::integer, Kind::integer})) {
    const bool full = output[1].text == "full";
    if (full && (output[2].integer != 0 || output[3].integer != step)) throw NotTranslated{};
    scan.outputs.push_back({place_of(call, results, output[0].text), full});
  }
  const size_t wanted = 1 + scan.states.size() + scan.constants.size();
  if (parameters.size() != wanted) throw NotTranslated{};
  return scan;
}

// What the body computes, in terms of its parameters.
struct Step {
  std::string op;          // LSTM, RNN
  std::string activation;  // of an RNN
  TensorRef r;
  std::optional<TensorRef> bias;
};

Step step_of(const Call& call, const Scan& scan) {
  GraphBuilder graph;
  Reading inner{call.reading.document, call.reading.load, graph, {}, call.reading.fragments};
  std::vector<TensorRef> inputs(scan.body->parameters.size());
  const auto input = [&](size_t place, const TensorRef& outer, bool one_step) {
    Shape shape = call.shape(outer);
    if (one_step && !shape.empty()) shape[0] = 1;
    inputs[place] = {graph.input("", call.graph.dtype(outer), shape, {}), nullptr};
  };
  input(scan.x_place, scan.x, true);
  for (const Scan::State& state : scan.states) input(state.parameter, state.initial, false);
  for (const Scan::Constant& constant : scan.constants) {
    input(constant.parameter, constant.value, false);
  }
  const std::vector<TensorRef> results = Evaluator(inner).results_of(*scan.body, inputs);
  if (scan.states.empty() || scan.states.size() > 2) throw NotTranslated{};

  Step step;
  const auto id_of = [&](const Scan::State& state) { return inputs[state.parameter].id; };
  const auto result_of = [&](const Scan::State& state) {
    return bare(graph, results[state.result]);
  };
  const Scan::State& h = scan.states[0];
  TensorRef sum;
  if (scan.states.size() == 2) {
    const Node* cell = producer_of(graph, result_of(h), "tract_core_lstm_epilogue", "nnef");
    const bool fits = cell != nullptr && cell->inputs.size() == 2 && cell->outputs.size() == 2 &&
                      cell->outputs[0] == result_of(h).id &&
                      cell->outputs[1] == result_of(scan.states[1]).id &&
                      bare(graph, {cell->inputs[1], nullptr}).id == id_of(scan.states[1]);
    if (!fits) throw NotTranslated{};
    step.op = "LSTM";
    sum = {cell->inputs[0], nullptr};
  } else {
    step.op = "RNN";
    for (const std::string_view activation : {"Tanh", "Sigmoid", "Relu"}) {
      if (const Node* node = producer_of(graph, result_of(h), activation)) {
        step.activation = activation;
        sum = {node->inputs[0], nullptr};
      }
    }
    if (step.activation.empty()) throw NotTranslated{};
  }
  bool has_x = false;
  for (const TensorRef& part : summands(graph, sum)) {
    if (part.id == inputs[scan.x_place].id && !has_x) {
      has_x = true;
      continue;
    }
    bool found = false;
    for (const Scan::Constant& constant : scan.constants) {
      const ValueId id = inputs[constant.parameter].id;
      if (part.id == id && !step.bias && !found) {
        step.bias = constant.value;
        found = true;
      } else if (is_recurrent_product(graph, part, id_of(h), id) && !found &&
                 step.r.constant == nullptr && step.r.id == kNoValue) {
        step.r = constant.value;
        found = true;
      }
    }
    if (!found) throw NotTranslated{};
  }
  if (!has_x || (step.r.constant == nullptr && step.r.id == kNoValue)) throw NotTranslated{};
  return step;
}

// X and W where `tensor` [T, N, gates * H] is X W^T, maybe computed with N in front.
struct Projection {
  TensorRef x, w;
};

std::optional<Projection> projection(GraphBuilder& graph, const TensorRef& tensor) {
  bool swapped = false;
  const Node* node = graph.producer(tensor);
  if (node != nullptr && node->op == "Transpose" && node->domain.empty()) {
    if (ints_attribute(*node, "perm", {}) != std::vector<int64_t>{1, 0, 2}) return std::nullopt;
    swapped = true;
    node = graph.producer({node->inputs[0], nullptr});
  }
  if (node == nullptr || node->op != "MatMul" || !node->domain.empty()) return std::nullopt;
  const TensorRef x = graph.tensor(node->inputs[0]), w = graph.tensor(node->inputs[1]);
  if (w.constant == nullptr || w.constant->shape.size() != 2 || graph.rank(x) != 3) {
    return std::nullopt;
  }
  return Projection{swapped ? transpose(graph, x, {1, 0, 2}) : x,
                    {kNoValue, transposed(w.constant)}};
}

std::optional<int64_t> one_integer(const GraphBuilder& graph, const Node& node, size_t input) {
  const TensorRef tensor = graph.tensor(node.inputs[input]);
  if (tensor.constant == nullptr || tensor.constant->dense() == nullptr) return std::nullopt;
  const std::vector<int64_t> values = to_i64(*tensor.constant->dense());
  if (values.size() != 1) return std::nullopt;
  return values[0];
}

// B of ONNX where `bias` is the sum of its two halves: then it is a slice of a constant twice.
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

// The sum of both biases as the first half, zeros as the second.
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

}  // namespace

EvalValue read_scan(const Call& call) {
  const Scan scan = scan_of(call);
  const Step step = step_of(call, scan);
  GraphBuilder& graph = call.graph;
  const Shape r_shape = call.shape(step.r), x_shape = call.shape(scan.x);
  if (r_shape.size() < 2 || x_shape.size() != 3 || r_shape.back() < 1) throw NotTranslated{};
  Recurrence cell;
  cell.op = step.op;
  cell.hidden = r_shape.back();
  cell.reverse = scan.reverse;
  cell.steps = x_shape[0];
  cell.batch = x_shape[1];
  const int64_t rows = cell.hidden * (step.op == "LSTM" ? 4 : 1);
  if (x_shape[2] != rows) throw NotTranslated{};

  // x = X W^T, or that and a bias in either order.
  std::optional<TensorRef> bias = step.bias;
  std::optional<Projection> projected = projection(graph, scan.x);
  if (const Node* add = producer_of(graph, scan.x, "Add"); !projected && add != nullptr) {
    const std::vector<ValueId> inputs = add->inputs;
    for (size_t i = 0; i < 2 && !projected; ++i) {
      projected = projection(graph, graph.tensor(inputs[i]));
      if (!projected) continue;
      if (bias) throw NotTranslated{};
      bias = graph.tensor(inputs[1 - i]);
    }
  }
  if (!projected) throw NotTranslated{};
  cell.x = projected->x;
  cell.w = projected->w;
  cell.r = step.r;
  if (bias) {
    cell.b = halves_of(graph, *bias, rows);
    if (!cell.b) cell.b = with_zero_half(*bias, rows);
    if (!cell.b) throw NotTranslated{};
    graph.allow_drop(*bias);
  }
  for (const Scan::State& state : scan.states) cell.states.push_back(state.initial);
  if (step.op == "RNN" && step.activation != "Tanh") {
    cell.attributes = {attribute("activations", std::vector<std::string>{step.activation})};
  }
  check_weights(call, cell, call.shape(cell.x)[2]);
  for (const Scan::Output& output : scan.outputs) {
    const bool collects_c = output.full && output.result != scan.states[0].result;
    if (collects_c) throw NotTranslated{};
  }
  graph.allow_drop(scan.x);
  const std::vector<TensorRef> made = make_recurrent(call, cell);

  std::vector<EvalValue> results;
  for (const Scan::Output& output : scan.outputs) {
    TensorRef result = made[0];
    for (size_t i = 0; i < scan.states.size() && !output.full; ++i) {
      if (output.result != scan.states[i].result) continue;
      result = made[i + 1];
      // A state without the axis of directions ends without it.
      if (call.shape(scan.states[i].initial).size() == 2) {
        result = graph.node("Squeeze", {result, graph.integers("axes", {0})},
                            {graph.dtype(result), Shape{cell.batch, cell.hidden}});
      }
    }
    results.push_back(EvalValue::of_tensor(result));
  }
  if (results.size() == 1) return results[0];
  return EvalValue::of_list(EvalValue::Kind::array, std::move(results), call.at);
}

}  // namespace espalier::nnef
