#include "formats/nnef/read/scan_step.h"

#include <set>

#include "formats/nnef/read/evaluator.h"

namespace espalier::nnef {
namespace {

// The body run in a graph of its own.
struct Body {
  GraphBuilder graph;
  std::vector<TensorRef> inputs, results;

  Body(const Call& call, const Scan& scan) : inputs(scan.body->parameters.size()) {
    Reading inner{call.reading.document, call.reading.load, graph, {}, call.reading.fragments};
    const auto input = [&](size_t place, const TensorRef& outer, bool one_step) {
      Shape shape = call.shape(outer);
      if (one_step && !shape.empty()) shape[0] = 1;
      inputs[place] = {graph.input("", call.graph.dtype(outer), shape, {}), nullptr};
    };
    for (const Scan::Scanned& one : scan.scanned) input(one.parameter, one.tensor, true);
    for (const Scan::State& state : scan.states) input(state.parameter, state.initial, false);
    for (const Scan::Constant& one : scan.constants) input(one.parameter, one.value, false);
    results = Evaluator(inner).results_of(*scan.body, inputs);
  }
};

// Rows of vectors [1, N, width] or [N, width].
StepInput vector_of(const Call& call, ValueId value, const TensorRef& outer) {
  const Shape shape = call.shape(outer);
  if (shape.size() < 2) throw NotTranslated{};
  return {value, shape.back(), shape.size(), 2};
}

StepConstant constant_of(ValueId value, const TensorRef& tensor, const Shape& shape) {
  StepConstant constant{value, {}, shape, {}};
  const Tensor* dense = tensor.constant == nullptr ? nullptr : tensor.constant->dense();
  if (dense != nullptr) constant.dense = *dense;
  return constant;
}

}  // namespace

// Sorts what the scan is given into inputs and constants of a formula, and names the constants that
// the step is found to have.
ScanStep step_of(const Call& call, const Scan& scan) {
  const Body body(call, scan);
  ScanStep result;
  result.states = scan.states.size();
  std::vector<StepInput> inputs;
  std::vector<StepState> states;
  for (const Scan::State& state : scan.states) {
    states.push_back({inputs.size(), body.results[state.result].id});
    inputs.push_back(vector_of(call, body.inputs[state.parameter].id, state.initial));
  }
  for (const Scan::Scanned& one : scan.scanned)
    inputs.push_back(vector_of(call, body.inputs[one.parameter].id, one.tensor));
  std::vector<StepConstant> constants;
  for (const Scan::Constant& one : scan.constants) {
    constants.push_back(
        constant_of(body.inputs[one.parameter].id, one.value, call.shape(one.value)));
    result.constants.push_back(one.value);
  }
  std::set<ValueId> seen;
  for (const Node& node : body.graph.graph().nodes) {
    for (const ValueId input : node.inputs) {
      if (input == kNoValue || !seen.insert(input).second) continue;
      const TensorRef tensor = body.graph.tensor(input);
      if (tensor.constant == nullptr) continue;
      constants.push_back(constant_of(input, tensor, tensor.constant->shape));
      result.constants.push_back(tensor);
    }
  }
  const DType dtype =
      call.graph.dtype(scan.states.empty() ? scan.scanned[0].tensor : scan.states[0].initial);
  ThreadPool pool(1);
  const StepFormula formula(body.graph.graph(), kNnefOpset, dtype, std::move(inputs),
                            std::move(constants), pool);
  std::optional<RecurrentStep> found = recurrent_step(formula, states);
  if (!found) throw NotTranslated{};
  result.step = *std::move(found);
  for (size_t i = result.constants.size(); i < formula.constants().size(); ++i) {
    const StepConstant& made = formula.constants()[i];
    TensorRef tensor;
    if (made.dense) {
      tensor.constant = make_constant("weight", *made.dense);
      for (const size_t source : made.sources) {
        const ConstantPtr& from = result.constants[source].constant;
        if (from == nullptr) continue;
        tensor.constant->name = from->name;
        tensor.constant->has_label = from->has_label;
        break;
      }
    }
    result.constants.push_back(tensor);
  }
  return result;
}

}  // namespace espalier::nnef
