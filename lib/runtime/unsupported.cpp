#include <fmt/format.h>

#include "lib/base/error.h"
#include "lib/ops/composites.h"
#include "lib/ops/operator.h"
#include "lib/runtime/executor.h"
#include "lib/runtime/graph_step.h"

namespace espalier {
namespace {

void find_unsupported(const Graph& graph, size_t depth, std::vector<std::string>& result) {
  if (depth > kMaxNesting) {
    result.push_back(fmt::format("subgraphs are nested more than {} levels deep", kMaxNesting));
    return;
  }
  for (size_t i : needed_nodes(graph)) {
    const Node& node = graph.nodes[i];
    const Operator* entry = find_operator(node.op, node.domain);
    if (!is_control_flow(node) && (entry == nullptr || entry->prepare == nullptr)) {
      result.push_back(fmt::format("{} ({})", printable(full_op_name(node)), printable(node.name)));
    }
    if (!is_control_flow(node)) continue;
    for_each_subgraph(node, [&](const Graph& sub) { find_unsupported(sub, depth + 1, result); });
  }
}

}  // namespace

std::vector<std::string> unsupported_operators(const Model& model) {
  std::vector<std::string> result;
  if (!has_composites(model.graph)) {
    find_unsupported(model.graph, 1, result);
    return result;
  }
  try {
    find_unsupported(with_composites_expanded(model.graph, model.origin.opset), 1, result);
  } catch (const Error& error) {
    result.push_back(error.what());
  }
  return result;
}

}  // namespace espalier
