// Nodes that no output depends on, and constants that nobody reads.

#include <algorithm>
#include <set>

#include "lib/ir/uses.h"
#include "lib/passes/pass.h"

namespace espalier {
namespace {

void run(Graph& graph, PassContext&) {
  std::set<size_t> needed;
  for (const size_t i : needed_nodes(graph)) needed.insert(i);
  std::vector<bool> read(graph.values.size(), false);
  std::set<std::string, std::less<>> captured;
  for (const ValueId output : graph.outputs) read[output] = true;
  for (const ValueId input : graph.inputs) read[input] = true;  // a default value stays
  for (const size_t i : needed) {
    for (const ValueId input : graph.nodes[i].inputs) {
      if (input != kNoValue) read[input] = true;
    }
    for (std::string& name : captured_by(graph.nodes[i])) captured.insert(std::move(name));
  }
  std::erase_if(graph.weights, [&](const auto& entry) {
    return !read[entry.first] && !captured.contains(graph.values[entry.first].name);
  });
  // Constant nodes go with their values; those of weights that are read stay where they were.
  size_t index = 0;
  std::erase_if(graph.nodes, [&](const Node& node) {
    if (needed.contains(index++)) return false;
    return !std::ranges::any_of(node.outputs,
                                [&](ValueId output) { return graph.weights.contains(output); });
  });
}

}  // namespace

constinit const Pass dead_nodes_pass{
    .name = "dead_nodes",
    .summary = "nodes that no output depends on, constants that nobody reads",
    .run = run};

}  // namespace espalier
