#include "lib/ops/default_inputs.h"

#include <algorithm>
#include <iterator>

#include "lib/ops/operator.h"

namespace espalier {
namespace {

// What multiplies from the left, input 0, may be a state; a weight is to the right of it.
bool takes_as_weight(const Graph& graph, const Node& node, ValueId value) {
  const Operator* op = find_operator(node.op, node.domain);
  if (op == nullptr || op->fold == nullptr) return false;
  for (size_t i = 1; i < node.inputs.size(); ++i) {
    if (node.inputs[i] == value && op->fold(node, i, graph.weights.at(value).shape())) return true;
  }
  return false;
}

}  // namespace

std::vector<ValueId> default_inputs(const Graph& graph) {
  std::vector<ValueId> result;
  std::ranges::copy_if(graph.inputs, std::back_inserter(result),
                       [&](ValueId value) { return graph.weights.contains(value); });
  return result;
}

std::vector<ValueId> kept_default_inputs(const Graph& graph) {
  std::vector<ValueId> result = default_inputs(graph);
  for (const ValueId value : result) {
    const auto takes = [&](const Node& node) { return takes_as_weight(graph, node, value); };
    if (std::ranges::any_of(graph.nodes, takes)) return {};
  }
  std::erase_if(result, [&](ValueId value) {
    const Weight& weight = graph.weights.at(value);
    return weight.is_sparse() || !is_float(weight.dtype());
  });
  return result;
}

Graph without_defaults(Graph graph, const std::vector<ValueId>& inputs) {
  for (const ValueId value : inputs) graph.weights.erase(value);
  return graph;
}

}  // namespace espalier
