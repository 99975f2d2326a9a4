#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/ir/model.h"

namespace espalier {

/// Of all values of a model: new ones are others.
using Names = std::unordered_set<std::string>;

[[noreturn]] inline void refuse(const std::string& what) { throw Error(Fault::kUnsupported, what); }

/// Makes the nodes that one node stands for (lib/ops/composites.h).
class Expansion {
 public:
  Expansion(Graph& graph, const Node& node, int64_t opset, Names& names)
      : node(node), opset(opset), graph_(graph), names_(names) {}

  const Node& node;
  const int64_t opset;

  bool has(size_t input) const {
    return input < node.inputs.size() && node.inputs[input] != kNoValue;
  }
  ValueId input(size_t index) const {
    if (!has(index)) refuse(fmt::format("input {} is missing", index));
    return node.inputs[index];
  }
  bool wants(size_t output) const {
    return output < node.outputs.size() && node.outputs[output] != kNoValue;
  }

  /// Known extents of an input: of a constant, or as declared.
  std::optional<Shape> shape(size_t index) const {
    if (!has(index)) return std::nullopt;
    const Weight* weight = find_weight(graph_, node.inputs[index]);
    return weight != nullptr ? weight->shape() : graph_.values[node.inputs[index]].shape;
  }
  DType declared(size_t index) const {
    if (!has(index)) return DType::kUnknown;
    const Weight* weight = find_weight(graph_, node.inputs[index]);
    return weight != nullptr ? weight->dtype() : graph_.values[node.inputs[index]].dtype;
  }
  /// Of the numbers that are computed with input 0.
  DType dtype() const {
    for (const ValueId value : node.inputs) {
      if (value == kNoValue) continue;
      const Weight* weight = find_weight(graph_, value);
      const DType found = weight != nullptr ? weight->dtype() : graph_.values[value].dtype;
      if (is_float(found)) return found;
    }
    return DType::kF32;
  }

  ValueId make(std::string op, std::vector<ValueId> inputs,
               std::vector<Attribute> attributes = {}) {
    Node& made = made_.emplace_back();
    made.op = std::move(op);
    made.name = node.name;
    made.number = node.number;
    made.inputs = std::move(inputs);
    made.attributes = std::move(attributes);
    made.outputs = {new_value()};
    return made.outputs[0];
  }
  ValueId integers(const std::vector<int64_t>& values) {
    return constant(Tensor::of<int64_t>({static_cast<int64_t>(values.size())}, values));
  }
  ValueId integers_0d(int64_t value) { return constant(Tensor::of<int64_t>({}, {&value, 1})); }
  /// A number of the type that is computed with.
  ValueId number(float value) { return constant(from_f32({&value, 1}, dtype(), {})); }

  /// `value`, made by the last nodes, is output `index`.
  void give(size_t index, ValueId value) {
    if (!wants(index)) return;
    const ValueId output = node.outputs[index];
    for (Node& made : made_) {
      std::ranges::replace(made.inputs, value, output);
      std::ranges::replace(made.outputs, value, output);
    }
  }
  /// An output of the last node besides its first.
  void give_also(size_t index, size_t of_last) {
    if (!wants(index)) return;
    made_.back().outputs.resize(std::max(made_.back().outputs.size(), of_last + 1), kNoValue);
    made_.back().outputs[of_last] = node.outputs[index];
  }

  std::vector<Node> take() { return std::move(made_); }

 private:
  ValueId new_value() {
    std::string base = "composite";
    for (const ValueId output : node.outputs) {
      if (output == kNoValue) continue;
      base = graph_.values[output].name;
      break;
    }
    std::string name;
    do {
      name = fmt::format("{}.{}", base, ++count_);
    } while (!names_.insert(name).second);
    return add_value(graph_, name);
  }
  ValueId constant(Tensor tensor) {
    const ValueId value = new_value();
    graph_.values[value].dtype = tensor.dtype();
    graph_.values[value].shape = tensor.shape();
    graph_.weights[value] = {std::move(tensor), {}};
    return value;
  }

  Graph& graph_;
  Names& names_;
  std::vector<Node> made_;
  size_t count_ = 0;
};

}  // namespace espalier
