#include "formats/nnef/read/evaluator.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/nnef/language/check_types.h"
#include "formats/nnef/language/lexer.h"
#include "formats/nnef/language/standard_operators.h"
#include "formats/nnef/read/dequantize.h"
#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

using Kind = Expr::Kind;
using ValueKind = EvalValue::Kind;

// The first identifier in a target: values inside of what it is assigned are named after it.
void first_identifier(const Expr& target, std::string& out) {
  if (!out.empty()) return;
  if (target.kind == Kind::identifier) out = target.text;
  for (const Expr& item : target.items) first_identifier(item, out);
}

}  // namespace

Evaluator::Evaluator(Reading& reading)
    : reading_(reading), is_tract_(is_tract_dialect(reading.document)) {
  if (!reading_.fragments.empty()) return;  // a reading inside another
  for (const Fragment& fragment : reading.document.fragments) {
    if (!reading_.fragments.emplace(fragment.name, &fragment).second) {
      fail_at(fragment.at, fmt::format("duplicate fragment {}", printable(fragment.name)));
    }
  }
  for (const Quantization& entry : reading.document.quantization) {
    quantization_.emplace(entry.tensor, &entry);
  }
  for (const std::vector<std::string>& extension : reading.document.extensions) {
    if (extension.size() == 2 && extension[0] == "tract_symbol") {
      symbols_.insert(extension[1]);
    }
  }
}

void Evaluator::run_body(const std::vector<Assignment>& body, Scope& scope) {
  for (const Assignment& assignment : body) {
    if (scope.fragment == nullptr) {
      scope.prefix.clear();
      first_identifier(assignment.target, scope.prefix);
    }
    const EvalValue value = eval(assignment.value, scope, &assignment.target);
    assign(assignment.target, value, scope);
  }
}

bool Evaluator::is_result(const std::string& name, const Scope& scope) {
  return scope.fragment != nullptr &&
         std::ranges::count(scope.fragment->results, name, &Parameter::name) != 0;
}

// Assigns `value`, or its items, to the identifiers of `target`. Tensors of the graph get the
// identifier as their name, those inside a fragment that of the call and theirs; an entry of
// graph.quant is applied.
void Evaluator::assign(const Expr& target, const EvalValue& value, Scope& scope) {
  reading_.budget.spend(1);
  if (target.kind == Kind::identifier) {
    if (value.kind == ValueKind::nothing) {
      fail_at(target.at, fmt::format("{} is assigned no value", printable(target.text)));
    }
    // 3.3.2, Assignments: where a primitive gives them, nothing says how many there are.
    if (value.from_primitive && !is_result(target.text, scope)) {
      fail_at(target.at, fmt::format("{} is assigned an array of unspecified length, expected an "
                                     "assignment to its items: [a, b, ...]",
                                     printable(target.text)));
    }
    const bool is_annotated = scope.fragment == nullptr && quantization_.contains(target.text);
    const EvalValue assigned = is_annotated ? quantized(target.text, value) : value;
    if (!scope.names.insert_or_assign(target.text, assigned).second && !is_tract_) {
      fail_at(target.at, fmt::format("{} is assigned twice", printable(target.text)));
    }
    if (assigned.kind != ValueKind::tensor) return;
    if (scope.fragment == nullptr) {
      reading_.graph.wish_name(assigned.tensor, target.text);
    } else if (!is_result(target.text, scope)) {
      // A result gets its name from where the fragment is called.
      reading_.graph.wish_name(value.tensor, scope.prefix + "_" + target.text);
    }
    return;
  }
  if (!value.is_list() || value.items->size() != target.items.size()) {
    fail_at(target.at,
            fmt::format("{} targets are assigned {}{}", target.items.size(), describe(value.kind),
                        value.is_list() ? fmt::format(" of {}", value.items->size()) : ""));
  }
  for (size_t i = 0; i < target.items.size(); ++i) {
    assign(target.items[i], (*value.items)[i], scope);
  }
}

// Applies the entry of graph.quant for tensor `name`: stored integers become the f32 values that
// they stand for, anything else goes through the operation of the entry.
EvalValue Evaluator::quantized(const std::string& name, const EvalValue& value) {
  const Quantization& entry = *quantization_.at(name);
  const Expr& operation = entry.operation;
  try {
    const Fragment* declaration = reading_.fragment(operation.text);
    if (declaration == nullptr) declaration = find_standard_operator(operation.text);
    const bool takes_tensor = declaration != nullptr && !declaration->parameters.empty() &&
                              declaration->parameters[0].type.kind == Type::Kind::tensor;
    if (!takes_tensor) {
      fail_at(operation.at, fmt::format("no quantization operation {} takes a tensor",
                                        printable(operation.text)));
    }
    if (value.kind != ValueKind::tensor) {
      fail_at(entry.at,
              fmt::format("{} is {}, expected a tensor", printable(name), describe(value.kind)));
    }
    Arguments arguments = {{"", value}};
    Scope empty;
    for (size_t i = 0; i < operation.items.size(); ++i) {
      arguments.emplace_back(operation.names[i], eval(operation.items[i], empty));
    }
    const ConstantPtr& stored = value.tensor.constant;
    if (stored != nullptr && stored->dense() != nullptr && !is_float(stored->dtype())) {
      const Call call(reading_, *declaration, bind(*declaration, arguments, operation.at), "",
                      operation.at);
      return EvalValue::of_tensor({kNoValue, dequantized(call, stored)});
    }
    const DType dtype = reading_.graph.dtype(value.tensor);
    if (dtype != DType::kUnknown && !is_float(dtype)) {
      fail_at(entry.at, fmt::format("{} holds {}, only scalars are quantized", printable(name),
                                    name_of(dtype)));
    }
    unquantized_.emplace(name, value);
    const EvalValue result = invoke(operation, "", arguments, name, nullptr);
    if (result.kind != ValueKind::tensor) fail_at(operation.at, "the result is not a tensor");
    return result;
  } catch (Error& error) {
    error.add_context(kQuantFile);
    throw;
  }
}

// Runs the graph's body and makes a model of its inputs and outputs.
Model Evaluator::run() {
  const GraphDefinition& graph = *reading_.document.graph;
  Scope scope;
  run_body(graph.body, scope);
  const auto tensor_of = [&](const std::string& name, std::string_view role) {
    const auto found = scope.names.find(name);
    if (found == scope.names.end()) {
      fail_at(graph.at, fmt::format("{} {} is never assigned", role, printable(name)));
    }
    EvalValue value = found->second;
    if (value.kind != ValueKind::tensor) {
      const ConstantPtr constant = literal_constant(value, DType::kUnknown);
      if (constant == nullptr) {
        fail_at(graph.at, fmt::format("{} {} is {}", role, printable(name), describe(value.kind)));
      }
      value.tensor = {kNoValue, constant};
    }
    return value.tensor;
  };
  std::vector<TensorRef> inputs, outputs;
  for (const std::string& name : graph.inputs) {
    const auto found = unquantized_.find(name);
    inputs.push_back(found == unquantized_.end() ? tensor_of(name, "input") : found->second.tensor);
  }
  for (const std::string& name : graph.outputs) outputs.push_back(tensor_of(name, "output"));
  const std::optional<std::string> wrong = reading_.graph.order_inputs(inputs, graph.inputs);
  if (wrong) fail_at(graph.at, *wrong);
  Model model;
  model.graph = reading_.graph.finish(graph.name, outputs, graph.outputs);
  model.origin.format = "nnef";
  model.origin.opset = kNnefOpset;
  model.origin.extra = kept_text();
  return model;
}

Model translate(const Document& document, const LoadTensor& load) {
  if (!document.graph) throw Error(Fault::kFormat, "the document has no graph");
  if (!is_tract_dialect(document)) check_types(document);
  GraphBuilder graph;
  Reading reading{document, load, graph, {}, {}};
  return Evaluator(reading).run();
}

}  // namespace espalier::nnef
