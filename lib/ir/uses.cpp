#include "lib/ir/uses.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "lib/base/error.h"
#include "lib/base/limits.h"

namespace espalier {

static_assert(kMaxNesting == limits::subgraph_nesting);
namespace {

bool is_stored_constant(const Graph& graph, const Node& node) {
  return node.op == "Constant" && node.outputs.size() == 1 &&
         graph.weights.contains(node.outputs[0]);
}

void collect_captured(const Graph& graph, size_t depth, std::set<std::string>& result) {
  if (depth > kMaxNesting) {
    throw Error(Fault::kUnsupported, fmt::format("subgraphs are nested {} levels deep", depth));
  }
  std::vector<bool> made(graph.values.size(), false);
  for (const ValueId input : graph.inputs) made[input] = true;
  for (const auto& entry : graph.weights) made[entry.first] = true;
  std::set<std::string> wanted;
  std::unordered_set<std::string_view> names;
  for (const Node& node : graph.nodes) {
    for (const ValueId output : node.outputs) {
      if (output != kNoValue) made[output] = true;
    }
  }
  const auto use = [&](ValueId value) {
    if (value != kNoValue && !made[value]) wanted.insert(graph.values[value].name);
  };
  for (const Node& node : graph.nodes) {
    for (const ValueId input : node.inputs) use(input);
    for (const Attribute& attribute : node.attributes) {
      const auto* sub = std::get_if<std::shared_ptr<const Graph>>(&attribute.value);
      if (sub != nullptr && *sub != nullptr) collect_captured(**sub, depth + 1, wanted);
    }
  }
  for (const ValueId output : graph.outputs) use(output);
  for (size_t i = 0; i < made.size(); ++i) {
    if (made[i]) names.insert(graph.values[i].name);
  }
  for (const std::string& name : wanted) {
    if (!names.contains(name)) result.insert(name);
  }
}

}  // namespace

std::vector<std::string> captured_names(const Graph& graph) {
  std::set<std::string> result;
  collect_captured(graph, 1, result);
  return {result.begin(), result.end()};
}

bool is_control_flow(const Node& node) {
  const std::string op = full_op_name(node);
  return op == "If" || op == "Loop" || op == "Scan";
}

std::vector<std::string> captured_by(const Node& node) {
  std::set<std::string> names;
  for (const Attribute& attribute : node.attributes) {
    const auto* sub = std::get_if<std::shared_ptr<const Graph>>(&attribute.value);
    if (sub != nullptr && *sub != nullptr) collect_captured(**sub, 1, names);
  }
  return {names.begin(), names.end()};
}

std::vector<size_t> needed_nodes(const Graph& graph) {
  std::unordered_map<std::string_view, ValueId> by_name;
  for (ValueId value = 0; value < graph.values.size(); ++value) {
    by_name.emplace(graph.values[value].name, value);
  }
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
      const auto found = by_name.find(name);
      if (found != by_name.end()) needed[found->second] = true;
    }
  }
  std::ranges::reverse(result);
  return result;
}

}  // namespace espalier
