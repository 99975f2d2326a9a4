#include "formats/nnef/read/graph_builder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <unordered_map>

#include "lib/base/error.h"
#include "lib/base/limits.h"

namespace espalier::nnef {

Attribute attribute(std::string name, Attribute::Value value) {
  return {std::move(name), std::move(value), {}};
}

ValueId GraphBuilder::input(std::string name, DType dtype, Shape shape,
                            std::vector<std::string> dimensions) {
  const ValueId id = add_value(graph_, std::move(name), dtype, std::move(shape));
  graph_.values[id].dimension_names = std::move(dimensions);
  producers_.resize(graph_.values.size(), SIZE_MAX);
  graph_.inputs.push_back(id);
  return id;
}

ValueId GraphBuilder::place(const ConstantPtr& constant) {
  if (constant->placed != kNoValue) return constant->placed;
  const ValueId id = add_value(graph_, constant->name, constant->dtype(), constant->shape);
  producers_.resize(graph_.values.size(), SIZE_MAX);
  Weight weight;
  if (const SparseMatrix* matrix = constant->sparse()) {
    weight.value = *matrix;
  } else {
    weight.value = dense_value(*constant);
  }
  graph_.weights.emplace(id, std::move(weight));
  constants_.emplace(id, constant);
  constant->placed = id;
  return id;
}

ValueId GraphBuilder::place(const TensorRef& tensor) {
  return tensor.constant != nullptr ? place(tensor.constant) : tensor.id;
}

TensorRef GraphBuilder::integers(std::string_view what, const std::vector<int64_t>& values) {
  const Shape shape = {static_cast<int64_t>(values.size())};
  return {kNoValue, make_constant(std::string(what),
                                  Tensor::of<int64_t>(shape, std::span<const int64_t>(values)))};
}

std::vector<TensorRef> GraphBuilder::node(Node node, const std::vector<TensorRef>& inputs,
                                          const std::vector<OutputInfo>& outputs) {
  static_assert(kMaxNodes == limits::nnef_nodes);
  if (graph_.nodes.size() >= kMaxNodes) {
    throw Error(Fault::kUnsupported, fmt::format("the graph has more than {} nodes", kMaxNodes));
  }
  for (const TensorRef& input : inputs) {
    const bool missing = input.constant == nullptr && input.id == kNoValue;
    node.inputs.push_back(missing ? kNoValue : place(input));
  }
  std::vector<TensorRef> results;
  for (const OutputInfo& output : outputs) {
    const ValueId id = add_value(graph_, "", output.dtype, output.shape);
    node.outputs.push_back(id);
    results.push_back({id, nullptr});
  }
  producers_.resize(graph_.values.size(), SIZE_MAX);
  for (const ValueId id : node.outputs) producers_[id] = graph_.nodes.size();
  graph_.nodes.push_back(std::move(node));
  return results;
}

TensorRef GraphBuilder::node(std::string op, const std::vector<TensorRef>& inputs,
                             OutputInfo output, std::vector<Attribute> attributes) {
  Node result;
  result.op = std::move(op);
  result.attributes = std::move(attributes);
  return node(std::move(result), inputs, std::vector{std::move(output)})[0];
}

std::optional<Shape> GraphBuilder::shape(const TensorRef& tensor) const {
  if (tensor.constant != nullptr) return tensor.constant->shape;
  return tensor.id == kNoValue ? std::nullopt : graph_.values[tensor.id].shape;
}

std::optional<size_t> GraphBuilder::rank(const TensorRef& tensor) const {
  const std::optional<Shape> known = shape(tensor);
  if (!known) return std::nullopt;
  return known->size();
}

DType GraphBuilder::dtype(const TensorRef& tensor) const {
  if (tensor.constant != nullptr) return tensor.constant->dtype();
  return tensor.id == kNoValue ? DType::kUnknown : graph_.values[tensor.id].dtype;
}

const Node* GraphBuilder::producer(const TensorRef& tensor) const {
  if (tensor.constant != nullptr || tensor.id == kNoValue) return nullptr;
  const size_t index = producers_[tensor.id];
  return index == SIZE_MAX ? nullptr : &graph_.nodes[index];
}

TensorRef GraphBuilder::tensor(ValueId id) const {
  const auto found = constants_.find(id);
  return found == constants_.end() ? TensorRef{id, nullptr} : TensorRef{kNoValue, found->second};
}

void GraphBuilder::allow_drop(const TensorRef& tensor) {
  std::vector<ValueId> todo = {tensor.id};
  while (!todo.empty()) {
    const ValueId id = todo.back();
    todo.pop_back();
    const Node* node = producer({id, nullptr});
    if (node == nullptr || !droppable_.insert(id).second) continue;
    todo.insert(todo.end(), node->inputs.begin(), node->inputs.end());
  }
}

std::optional<std::string> GraphBuilder::order_inputs(const std::vector<TensorRef>& inputs,
                                                      const std::vector<std::string>& names) {
  std::vector<ValueId> order;
  std::set<ValueId> externals(graph_.inputs.begin(), graph_.inputs.end());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const bool external = inputs[i].constant == nullptr && externals.erase(inputs[i].id) != 0;
    if (!external) return fmt::format("input {} is not an external", printable(names[i]));
    graph_.values[inputs[i].id].name = names[i];
    order.push_back(inputs[i].id);
  }
  if (order.size() != graph_.inputs.size()) {
    return fmt::format("{} externals, but the graph has {} inputs", graph_.inputs.size(),
                       order.size());
  }
  graph_.inputs = std::move(order);
  return std::nullopt;
}

void GraphBuilder::wish_name(const TensorRef& tensor, const std::string& name) {
  if (tensor.constant != nullptr) {
    if (tensor.constant->name.empty()) tensor.constant->name = name;
  } else if (tensor.id != kNoValue && graph_.values[tensor.id].name.empty()) {
    graph_.values[tensor.id].name = name;
  }
}

// An output that is an input, a weight or another output gets an Identity of its own, so that each
// can have its name.
void GraphBuilder::name_outputs(const std::vector<TensorRef>& outputs,
                                const std::vector<std::string>& names) {
  std::set<ValueId> taken(graph_.inputs.begin(), graph_.inputs.end());
  for (size_t i = 0; i < outputs.size(); ++i) {
    TensorRef tensor = outputs[i];
    ValueId id = place(tensor);
    if (taken.contains(id) || graph_.weights.contains(id)) {
      tensor =
          node("Identity", {{id, nullptr}}, {graph_.values[id].dtype, graph_.values[id].shape});
      id = tensor.id;
    }
    graph_.values[id].name = names[i];
    graph_.outputs.push_back(id);
    taken.insert(id);
  }
}

// Removes droppable nodes that nothing reads, from the last to the first, and weights left without
// readers.
void GraphBuilder::drop_unread() {
  constexpr std::array<std::string_view, 3> kDroppable = {"Transpose", "Squeeze", "Unsqueeze"};
  std::vector<uint32_t> readers(graph_.values.size());
  for (const Node& node : graph_.nodes) {
    for (const ValueId id : node.inputs) {
      if (id != kNoValue) ++readers[id];
    }
  }
  for (const ValueId id : graph_.outputs) ++readers[id];
  std::vector<Node> kept;
  for (size_t i = graph_.nodes.size(); i-- > 0;) {
    Node& node = graph_.nodes[i];
    const bool droppable = droppable_.contains(node.outputs[0]) ||
                           (node.domain.empty() && std::ranges::count(kDroppable, node.op) != 0);
    const auto is_unread = [&](ValueId id) { return readers[id] == 0; };
    if (droppable && std::ranges::all_of(node.outputs, is_unread)) {
      for (const ValueId id : node.inputs) {
        if (id != kNoValue) --readers[id];
      }
    } else {
      kept.push_back(std::move(node));
    }
  }
  std::ranges::reverse(kept);
  graph_.nodes = std::move(kept);
  std::erase_if(graph_.weights, [&](const auto& weight) { return readers[weight.first] == 0; });
}

// Ids are renumbered without the values that no node, input or output has left.
void GraphBuilder::drop_unused_values() {
  std::vector<bool> used(graph_.values.size());
  const auto mark = [&](const std::vector<ValueId>& ids) {
    for (const ValueId id : ids) {
      if (id != kNoValue) used[id] = true;
    }
  };
  mark(graph_.inputs);
  mark(graph_.outputs);
  for (const Node& node : graph_.nodes) {
    mark(node.inputs);
    mark(node.outputs);
  }
  std::vector<ValueId> renumbered(graph_.values.size(), kNoValue);
  std::vector<Value> values;
  for (size_t i = 0; i < used.size(); ++i) {
    if (!used[i]) continue;
    renumbered[i] = static_cast<ValueId>(values.size());
    values.push_back(std::move(graph_.values[i]));
  }
  graph_.values = std::move(values);
  const auto renumber = [&](std::vector<ValueId>& ids) {
    for (ValueId& id : ids) {
      if (id != kNoValue) id = renumbered[id];
    }
  };
  renumber(graph_.inputs);
  renumber(graph_.outputs);
  for (Node& node : graph_.nodes) {
    renumber(node.inputs);
    renumber(node.outputs);
  }
  std::map<ValueId, Weight> weights;
  for (auto& [id, weight] : graph_.weights) {
    if (renumbered[id] != kNoValue) weights.emplace(renumbered[id], std::move(weight));
  }
  graph_.weights = std::move(weights);
}

void GraphBuilder::make_names_unique() {
  // Class 0: inputs and outputs, 1: weights, 2: the rest.
  std::vector<int> rank(graph_.values.size(), 2);
  for (const auto& entry : graph_.weights) rank[entry.first] = 1;
  for (const auto* list : {&graph_.inputs, &graph_.outputs}) {
    for (const ValueId id : *list) rank[id] = 0;
  }
  std::set<std::string> names;
  std::unordered_map<std::string, size_t> next;  // so that a thousand equal wishes cost no square
  for (int wanted = 0; wanted < 3; ++wanted) {
    for (size_t id = 0; id < graph_.values.size(); ++id) {
      if (rank[id] != wanted) continue;
      std::string& name = graph_.values[id].name;
      if (name.empty()) name = "value";
      const std::string wish = name;
      while (!names.insert(name).second) name = fmt::format("{}_{}", wish, ++next[wish]);
    }
  }
}

Graph GraphBuilder::finish(std::string name, const std::vector<TensorRef>& outputs,
                           const std::vector<std::string>& output_names) {
  name_outputs(outputs, output_names);
  drop_unread();
  drop_unused_values();
  // What no assignment named takes the name of its operator.
  for (const Node& node : graph_.nodes) {
    for (const ValueId id : node.outputs) {
      if (id != kNoValue && graph_.values[id].name.empty()) graph_.values[id].name = node.op;
    }
  }
  make_names_unique();
  for (Node& node : graph_.nodes) {
    for (const ValueId id : node.outputs) {
      if (node.name.empty() && id != kNoValue) node.name = graph_.values[id].name;
    }
  }
  graph_.name = std::move(name);
  validate_and_sort(graph_);
  return std::move(graph_);
}

}  // namespace espalier::nnef
