#include "formats/onnx/packed_call.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "formats/onnx/operator_function.h"
#include "formats/onnx/recognise_decode.h"

namespace espalier {
namespace {

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> result;
  std::istringstream stream(text);
  for (std::string word; std::getline(stream, word, ',');) result.push_back(word);
  return result;
}

}  // namespace

const std::vector<PackedOperator>& packed_operators() {
  static const std::vector<PackedOperator> kOperators = [] {
    std::vector<PackedOperator> result;
    for (const OperatorForm& form : operator_forms()) {
      const OperatorSignature& known = operator_signature(form.op);
      PackedOperator& made = result.emplace_back();
      made.name = form.name;
      made.outputs = known.outputs.size();
      for (size_t i = 0; i < known.inputs.size(); ++i) {
        const bool packed = form.is_packed(i);
        made.parts.insert(made.parts.end(), packed ? kOperatorParts.size() : 1, packed);
        if (!packed) continue;
        for (const auto& [name, kind] : weight_attributes())
          made.attributes.emplace_back(part_name(known.inputs[i], name), kind);
      }
      for (const auto& [name, kind] : known.attributes) {
        if (kind != AttributeKind::kStrings) made.attributes.emplace_back(name, kind);
      }
      if (is_recurrent(form.op))
        made.attributes.emplace_back(kActivationNames, AttributeKind::kString);
    }
    return result;
  }();
  return kOperators;
}

// The call with the parts as weights, read as the reader of files does.
Model model_of_call(const PackedOperator& packed_operator, std::vector<Attribute> attributes,
                    const std::vector<CallInput>& inputs, const std::vector<bool>& outputs) {
  Model model;
  model.origin.opset = kNnefOpset;
  Node call{std::string(packed_operator.name),
            std::string(kDecodeDomain),
            "",
            {},
            {},
            std::move(attributes),
            {}};
  for (const Attribute& attribute : std::vector<Attribute>(call.attributes)) {
    if (attribute.name == kActivationNames)
      set_attribute(call, "activations", split(std::get<std::string>(attribute.value)));
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    call.inputs.push_back(kNoValue);
    if (!inputs[i].given) continue;
    const auto& constant = inputs[i].constant;
    const ValueId id = call.inputs.back() =
        add_value(model.graph, fmt::format("input {}", i), inputs[i].dtype,
                  constant ? std::optional(constant->shape()) : std::nullopt);
    if (constant) {
      model.graph.weights.emplace(id, Weight{*constant, {}});
    } else {
      model.graph.inputs.push_back(id);
    }
  }
  while (!call.inputs.empty() && call.inputs.back() == kNoValue) call.inputs.pop_back();
  for (size_t i = 0; i < outputs.size(); ++i) {
    call.outputs.push_back(kNoValue);
    if (!outputs[i]) continue;
    call.outputs.back() = add_value(model.graph, fmt::format("output {}", i));
    model.graph.outputs.push_back(call.outputs.back());
  }
  model.graph.nodes.push_back(std::move(call));
  model.graph =
      with_packed_weights(std::move(model.graph), {}, {std::string(packed_operator.name)});
  if (!model.graph.nodes[0].domain.empty()) {
    throw Error(Fault::kUnsupported,
                "the parts of its weights are not constants, or its attributes are not those that "
                "espalier writes");
  }
  return model;
}

}  // namespace espalier
