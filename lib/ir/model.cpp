#include "lib/ir/model.h"

#include <algorithm>
#include <utility>

#include "lib/sparse/pack.h"

namespace espalier {
namespace {

template <typename T>
T attribute_or(const Node& node, std::string_view name, T fallback) {
  const Attribute* attribute = find_attribute(node, name);
  const T* value = attribute == nullptr ? nullptr : std::get_if<T>(&attribute->value);
  return value == nullptr ? std::move(fallback) : *value;
}

}  // namespace

std::optional<Model> with_held_weights(const Model& model) {
  bool any = false;
  for_each_graph(model.graph, [&](const Graph& graph, const std::string&) {
    for (const auto& [id, weight] : graph.weights) any = any || weight.is_deferred();
  });
  if (!any) return std::nullopt;
  const auto hold = [](Graph& graph, const std::string&) {
    for (auto& [id, weight] : graph.weights) {
      if (!weight.is_deferred()) continue;
      if (weight.is_sparse()) {
        weight.value = held(weight.sparse());
      } else {
        weight.value = weight.dense().held();
      }
    }
  };
  Model result = model;
  result.graph = transformed(std::move(result.graph), hold);
  return result;
}

Tensor dense_of(const Weight& weight) {
  return weight.is_sparse() ? decode(weight.sparse()) : weight.dense();
}

const Attribute* find_attribute(const Node& node, std::string_view name) {
  const auto found = std::ranges::find(node.attributes, name, &Attribute::name);
  return found == node.attributes.end() ? nullptr : &*found;
}

int64_t int_attribute(const Node& node, std::string_view name, int64_t fallback) {
  return attribute_or(node, name, fallback);
}
float float_attribute(const Node& node, std::string_view name, float fallback) {
  return attribute_or(node, name, fallback);
}
std::string string_attribute(const Node& node, std::string_view name, std::string fallback) {
  return attribute_or(node, name, std::move(fallback));
}
std::vector<int64_t> ints_attribute(const Node& node, std::string_view name,
                                    std::vector<int64_t> fallback) {
  return attribute_or(node, name, std::move(fallback));
}
std::vector<float> floats_attribute(const Node& node, std::string_view name,
                                    std::vector<float> fallback) {
  return attribute_or(node, name, std::move(fallback));
}
std::vector<std::string> strings_attribute(const Node& node, std::string_view name,
                                           std::vector<std::string> fallback) {
  return attribute_or(node, name, std::move(fallback));
}

void set_attribute(Node& node, std::string name, Attribute::Value value) {
  const auto found = std::ranges::find(node.attributes, name, &Attribute::name);
  if (found != node.attributes.end()) {
    found->value = std::move(value);
  } else {
    node.attributes.push_back({std::move(name), std::move(value), {}});
  }
}

Graph numbered(Graph graph) {
  for (size_t i = 0; i < graph.nodes.size(); ++i) graph.nodes[i].number = i;
  return graph;
}

ValueId add_value(Graph& graph, std::string name, DType dtype, std::optional<Shape> shape) {
  graph.values.push_back({std::move(name), dtype, std::move(shape), {}, {}, {}});
  return static_cast<ValueId>(graph.values.size() - 1);
}

const Graph* subgraph_of(const Attribute& attribute) {
  const auto* graph = std::get_if<std::shared_ptr<const Graph>>(&attribute.value);
  return graph == nullptr ? nullptr : graph->get();
}

const Graph* find_subgraph(const Node& node, std::string_view name) {
  const Attribute* attribute = find_attribute(node, name);
  return attribute == nullptr ? nullptr : subgraph_of(*attribute);
}

std::string path_step(const Node& node, size_t index) {
  return node.name.empty() ? node.op + "_" + std::to_string(index) : node.name;
}

std::string full_op_name(const Node& node) {
  return node.domain.empty() || node.domain == "ai.onnx" ? node.op : node.domain + "." + node.op;
}

const Weight* find_weight(const Graph& graph, ValueId value) {
  const auto found = graph.weights.find(value);
  return found == graph.weights.end() ? nullptr : &found->second;
}

}  // namespace espalier
