#include "lib/ir/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <queue>

namespace espalier {
namespace {

template <typename T>
T attribute_or(const Node& node, std::string_view name, T fallback) {
  const Attribute* attribute = find_attribute(node, name);
  const T* value = attribute == nullptr ? nullptr : std::get_if<T>(&attribute->value);
  return value == nullptr ? std::move(fallback) : *value;
}

std::string label(const Node& node) {
  return printable(node.name.empty() ? node.op : fmt::format("{} ({})", node.op, node.name));
}

}  // namespace

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

ValueId add_value(Graph& graph, std::string name, DType dtype, std::optional<Shape> shape) {
  graph.values.push_back({std::move(name), dtype, std::move(shape), {}, {}});
  return static_cast<ValueId>(graph.values.size() - 1);
}

std::string full_op_name(const Node& node) {
  return node.domain.empty() || node.domain == "ai.onnx" ? node.op : node.domain + "." + node.op;
}

const Weight* find_weight(const Graph& graph, ValueId value) {
  const auto found = graph.weights.find(value);
  return found == graph.weights.end() ? nullptr : &found->second;
}

// Kahn's algorithm with the lowest node first, so that a sorted graph keeps its order. Outputs of
// nodes make values; inputs, weights and, in subgraphs, outer values are there from the start.
void validate_and_sort(Graph& graph) {
  constexpr size_t kNobody = SIZE_MAX;
  std::vector<size_t> maker(graph.values.size(), kNobody);
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    for (const ValueId output : graph.nodes[i].outputs) {
      if (output == kNoValue) continue;
      const bool constant = graph.nodes[i].op == "Constant" && graph.weights.contains(output);
      const bool taken = maker[output] != kNobody ||
                         std::ranges::count(graph.inputs, output) != 0 ||
                         (graph.weights.contains(output) && !constant);
      if (taken) {
        throw Error(Fault::kFormat,
                    fmt::format("value {} is made twice, the second time by node {}",
                                printable(graph.values[output].name), label(graph.nodes[i])));
      }
      maker[output] = i;
    }
  }
  std::vector<size_t> waiting(graph.nodes.size(), 0);
  std::vector<std::vector<size_t>> readers(graph.nodes.size());
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    for (const ValueId input : graph.nodes[i].inputs) {
      if (input == kNoValue || maker[input] == kNobody) continue;
      readers[maker[input]].push_back(i);
      ++waiting[i];
    }
  }
  std::priority_queue<size_t, std::vector<size_t>, std::greater<>> ready;
  for (size_t i = 0; i < waiting.size(); ++i) {
    if (waiting[i] == 0) ready.push(i);
  }
  std::vector<size_t> order;
  while (!ready.empty()) {
    order.push_back(ready.top());
    ready.pop();
    for (const size_t reader : readers[order.back()]) {
      if (--waiting[reader] == 0) ready.push(reader);
    }
  }
  if (order.size() != graph.nodes.size()) {
    const size_t stuck =
        std::ranges::find_if(waiting, [](size_t w) { return w != 0; }) - waiting.begin();
    throw Error(Fault::kFormat,
                fmt::format("node {} is part of a cycle: it reads what depends on its own outputs",
                            label(graph.nodes[stuck])));
  }
  std::vector<Node> sorted;
  sorted.reserve(order.size());
  for (const size_t i : order) sorted.push_back(std::move(graph.nodes[i]));
  graph.nodes = std::move(sorted);
}

}  // namespace espalier
