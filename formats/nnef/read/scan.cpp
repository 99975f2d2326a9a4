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

// Recognises the step, collects its weights and biases as ONNX has them, replaces the products in
// front of the loop by the recurrent node, and picks the node's results that the scan gives.
EvalValue read_scan(const Call& call) {
  Scan scan = scan_of(call);
  const ScanStep found = step_of(call, scan);
  const RecurrentStep& step = found.step;
  GraphBuilder& graph = call.graph;
  const Shape x_shape = call.shape(scan.scanned[0].tensor);
  if (x_shape.size() != 3) throw NotTranslated{};
  const ScanWeights weights = scan_weights(call, scan, found);
  if (step.h == 1) std::swap(scan.states[0], scan.states[1]);
  Recurrence cell;
  cell.op = step.op;
  cell.hidden = step.hidden;
  cell.reverse = scan.reverse;
  cell.steps = x_shape[0];
  cell.batch = x_shape[1];
  cell.x = weights.x;
  cell.w = weights.w;
  cell.r = weights.r;
  cell.b = weights.b;
  for (const Scan::State& state : scan.states) cell.states.push_back(state.initial);
  if (step.reset_after) cell.attributes = {attribute("linear_before_reset", int64_t{1})};
  const ActivationLists activations = activation_lists(step);
  if (!activations.usual) {
    cell.attributes.push_back(attribute("activations", activations.names));
    if (!activations.alpha.empty())
      cell.attributes.push_back(attribute("activation_alpha", activations.alpha));
    if (!activations.beta.empty())
      cell.attributes.push_back(attribute("activation_beta", activations.beta));
  }
  const int64_t width = call.shape(cell.x)[2];
  check_weights(call, cell, width);
  for (const Scan::Output& output : scan.outputs) {
    const bool collects_c = output.full && output.result != scan.states[0].result;
    if (collects_c) throw NotTranslated{};
  }
  for (const TensorRef& one : weights.taken_in) graph.allow_drop(one);
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
