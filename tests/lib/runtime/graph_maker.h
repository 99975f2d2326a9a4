#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/ir/model.h"

namespace espalier {

inline Tensor floats(Shape shape, const std::vector<float>& values) {
  return Tensor::of<float>(std::move(shape), values);
}

/// Builds graphs by value names.
class Maker {
 public:
  ValueId value(const std::string& name, DType dtype = DType::kUnknown,
                std::optional<Shape> shape = {}) {
    for (ValueId id = 0; id < graph.values.size(); ++id) {
      if (graph.values[id].name == name) return id;
    }
    return add_value(graph, name, dtype, std::move(shape));
  }
  Maker& input(const std::string& name, DType dtype, std::optional<Shape> shape) {
    graph.inputs.push_back(value(name, dtype, std::move(shape)));
    return *this;
  }
  Maker& weight(const std::string& name, const Tensor& tensor) {
    graph.weights[value(name, tensor.dtype(), tensor.shape())] = {tensor, {}};
    return *this;
  }
  Node& node(const std::string& op, const std::vector<std::string>& inputs,
             const std::vector<std::string>& outputs) {
    Node made;
    made.op = op;
    made.name = "the_" + op;
    for (const auto& name : inputs) made.inputs.push_back(name.empty() ? kNoValue : value(name));
    for (const auto& name : outputs) made.outputs.push_back(value(name));
    graph.nodes.push_back(std::move(made));
    return graph.nodes.back();
  }
  Maker& output(const std::string& name) {
    graph.outputs.push_back(value(name));
    return *this;
  }
  Model model() const {
    return {graph, {.format = "test", .file = "", .bytes = 0, .opset = 17, .extra = ""}};
  }

  Graph graph;
};

}  // namespace espalier
