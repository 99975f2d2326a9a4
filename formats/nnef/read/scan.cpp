#include "formats/nnef/read/scan.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/nnef/read/producers.h"
#include "formats/nnef/read/scan_weights.h"
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

// The index of a name from a scan's lists among parameters or results of its body.
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
  if (!list.is_list()) call.fail(fmt::format("{} is not an array", name));
  std::vector<std::vector<EvalValue>> result;
  for (const EvalValue& item : *list.items) {
    bool fits = item.is_list() && item.items->size() == kinds.size();
    std::vector<EvalValue> values = fits ? *item.items : std::vector<EvalValue>{};
    for (size_t i = 0; fits && i < kinds.size(); ++i) {
      // A tensor may be written as numbers.
      if (kinds[i] == Kind::tensor && values[i].kind != Kind::tensor) {
        values[i] = EvalValue::of_tensor(call.as_tensor(values[i], name, DType::kF32));
      }
      fits = values[i].kind == kinds[i];
    }
    if (!fits) call.fail(fmt::format("{} has items that are not the expected tuples", name));
    result.push_back(std::move(values));
  }
  return result;
}

// Resolves the lists of the invocation (scan, state, full, output). NotTranslated where a list asks
// for more than one step per run over the first axis, forwards or backwards.
Scan scan_of(const Call& call) {
  Scan scan;
  scan.body = call.reading.fragment(call.text("body"));
  if (scan.body == nullptr || !scan.body->body) {
    call.fail(fmt::format("fragment {} is not defined", printable(call.text("body"))));
  }
  const auto& parameters = scan.body->parameters;
  const auto& results = scan.body->results;
  const auto scanned =
      tuples(call, "scan", {Kind::string, Kind::tensor, Kind::integer, Kind::integer});
  if (scanned.empty() || call.integer("skip") != 0 || call.logical("reset_every_turn") ||
      call.logical("external_state")) {
    throw NotTranslated{};
  }
  const int64_t step = scanned[0][3].integer;
  for (const auto& one : scanned) {
    const bool fits = one[2].integer == 0 && one[3].integer == step && (step == 1 || step == -1);
    if (!fits) throw NotTranslated{};
    scan.scanned.push_back({one[1].tensor, place_of(call, parameters, one[0].text)});
  }
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
  const size_t named = scan.scanned.size() + scan.states.size() + scan.constants.size();
  if (parameters.size() != named) throw NotTranslated{};
  return scan;
}

}  // namespace

// Recognises the step, collects its weights and biases as ONNX has them, replaces the projections
// in front of the loop by the recurrent node, and picks the node's results that the scan gives.
EvalValue read_scan(const Call& call) {
  Scan scan = scan_of(call);
  const ScanStep step = step_of(call, scan);
  std::rotate(scan.states.begin(), scan.states.begin() + static_cast<ptrdiff_t>(step.h),
              scan.states.end());
  GraphBuilder& graph = call.graph;
  std::vector<TensorRef> recurrent;
  for (const GateSum& gate : step.gates) {
    if (gate.r) recurrent.push_back(*gate.r);
  }
  if (step.held) recurrent.push_back(*step.held->r);
  const Shape r_shape = call.shape(recurrent[0]),
              x_shape = call.shape(scan.scanned[*step.gates[0].x].tensor);
  if (r_shape.size() < 2 || x_shape.size() != 3 || r_shape.back() < 1) throw NotTranslated{};
  Recurrence cell;
  cell.op = step.op;
  cell.hidden = r_shape.back();
  cell.reverse = scan.reverse;
  cell.steps = x_shape[0];
  cell.batch = x_shape[1];
  const int64_t rows = cell.hidden * (step.op == "LSTM" ? 4 : step.op == "GRU" ? 3 : 1);
  const int64_t part = rows / static_cast<int64_t>(step.gates.size());
  if (step.op == "GRU") cell.attributes = {attribute("linear_before_reset", int64_t{1})};

  // x = X W^T of each gate, or that and a bias in either order.
  std::vector<TensorRef> inputs, taken_in;
  std::vector<std::vector<TensorRef>> biases;
  for (const GateSum& gate : step.gates) {
    const TensorRef& x = scan.scanned[*gate.x].tensor;
    if (call.shape(x).back() != part) throw NotTranslated{};
    std::optional<Projection> projected = projection(graph, x);
    biases.emplace_back();
    if (const Node* add = producer_of(graph, x, "Add"); !projected && add != nullptr) {
      const std::vector<ValueId> operands = add->inputs;
      for (size_t i = 0; i < 2 && !projected; ++i) {
        projected = projection(graph, graph.tensor(operands[i]));
        if (projected) biases.back() = {graph.tensor(operands[1 - i])};
      }
    }
    const bool fits = projected && (inputs.empty() || projected->x.id == cell.x.id);
    if (!fits) throw NotTranslated{};
    cell.x = projected->x;
    inputs.push_back(projected->w);
    taken_in.push_back(x);
  }
  const int64_t width = call.shape(cell.x)[2];
  cell.w = below_each_other(inputs, part, width);
  cell.r = below_each_other(recurrent, part, cell.hidden);
  std::vector<TensorRef> all_biases = biases[0];
  all_biases.insert(all_biases.end(), step.gates[0].biases.begin(), step.gates[0].biases.end());
  if (step.gates.size() > 1 || step.held) {
    cell.b = both_biases(step, biases, rows, call.graph.dtype(cell.x));
  } else if (all_biases.size() == 1) {
    cell.b = halves_of(graph, all_biases[0], rows);
    if (!cell.b) cell.b = with_zero_half(all_biases[0], rows);
    if (!cell.b) throw NotTranslated{};
    taken_in.push_back(all_biases[0]);
  } else if (!all_biases.empty()) {
    throw NotTranslated{};
  }
  for (const Scan::State& state : scan.states) cell.states.push_back(state.initial);
  if (step.op == "RNN" && step.activation != "Tanh") {
    cell.attributes = {attribute("activations", std::vector<std::string>{step.activation})};
  }
  check_weights(call, cell, width);
  for (const Scan::Output& output : scan.outputs) {
    const bool collects_c = output.full && output.result != scan.states[0].result;
    if (collects_c) throw NotTranslated{};
  }
  for (const TensorRef& one : taken_in) graph.allow_drop(one);
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
