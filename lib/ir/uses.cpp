#include "lib/ir/uses.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "lib/base/error.h"
#include "lib/ir/scope.h"

namespace espalier {

namespace {

bool is_stored_constant(const Graph& graph, const Node& node) {
  return node.op == "Constant" && node.outputs.size() == 1 &&
         graph.weights.contains(node.outputs[0]);
}

std::set<std::string_view> reads_of(const Graph& graph) {
  auto reads = outer_reads(graph, kMaxNesting);
  if (reads) return std::move(*reads);
  throw Error(Fault::kUnsupported, fmt::format("subgraphs are nested {} levels deep", kMaxNesting + 1));
}

}  // namespace

std::vector<std::string> captured_names(const Graph& graph) {
  const std::set<std::string_view> names = reads_of(graph);
  return {names.begin(), names.end()};
}

bool is_control_flow(const Node& node) {
  const std::string op = full_op_name(node);
  return op == "If" || op == "Loop" || op == "Scan";
}

std::vector<std::string> captured_by(const Node& node) {
  std::set<std::string_view> names;
  for_each_subgraph(node, [&](const Graph& sub) { names.merge(reads_of(sub)); });
  return {names.begin(), names.end()};
}

std::vector<size_t> needed_nodes(const Graph& graph) {
  const Scope scope(graph);
  std::vector<bool> needed(graph.values.size(), false);
  for (const ValueId output : graph.outputs) needed[output] = true;
  std::vector<size_t> result;
  for (size_t i = graph.nodes.size(); i-- > 0;) {
    const Node& node = graph.nodes[i];
    const bool read = std::ranges::any_of(
        node.outputs, [&](ValueId output) { return output != kNoValue && needed[output]; });
    if (!read || is_stored_constant(graph, node)) continue;
    result.push_back(i);
    for (const ValueId input : node.inputs) {
      if (input != kNoValue) needed[input] = true;
    }
    for (const std::string& name : captured_by(node)) {
      if (const std::optional<ValueId> value = scope.find(name)) needed[*value] = true;
    }
  }
  std::ranges::reverse(result);
  return result;
}

}  // namespace espalier
