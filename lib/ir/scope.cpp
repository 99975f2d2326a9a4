#include "lib/ir/scope.h"

#include <algorithm>

#include "lib/base/check.h"

namespace espalier {
namespace {

// Adds to `reads` what outer_reads() gives; false where the graph is nested too deep.
bool add_outer_reads(const Graph& graph, size_t levels_left, std::set<std::string_view>& reads) {
  if (levels_left == 0) return false;
  const Scope scope(graph);
  std::set<std::string_view> found;
  const auto read = [&](ValueId value) {
    if (value != kNoValue && !scope.gives(value)) found.insert(graph.values[value].name);
  };
  bool ok = true;
  for (const Node& node : graph.nodes) {
    std::ranges::for_each(node.inputs, read);
    for_each_subgraph(
        node, [&](const Graph& sub) { ok = ok && add_outer_reads(sub, levels_left - 1, found); });
  }
  std::ranges::for_each(graph.outputs, read);
  for (const std::string_view name : found) {
    if (!scope.find(name)) reads.insert(name);
  }
  return ok;
}

}  // namespace

Scope::Scope(const Graph& graph, Scope* outer)
    : graph_(&graph), outer_(outer), given_(graph.values.size(), false) {
  const auto give = [&](ValueId value) {
    if (value == kNoValue) return;
    ESPALIER_CHECK(value < given_.size());
    given_[value] = true;
  };
  std::ranges::for_each(graph.inputs, give);
  for (const auto& entry : graph.weights) give(entry.first);
  for (const Node& node : graph.nodes) std::ranges::for_each(node.outputs, give);
}

std::optional<ValueId> Scope::find(std::string_view name) const {
  if (!by_name_) {
    by_name_.emplace();
    for (ValueId value = 0; value < given_.size(); ++value) {
      if (given_[value]) by_name_->emplace(graph_->values[value].name, value);
    }
  }
  const auto found = by_name_->find(name);
  return found == by_name_->end() ? std::nullopt : std::optional(found->second);
}

Scope::Place Scope::place_of(ValueId value) {
  if (value == kNoValue) return {};
  if (gives(value)) return {this, value};
  return outer_ == nullptr ? Place{} : outer_->place_of(graph_->values[value].name);
}

Scope::Place Scope::place_of(std::string_view name) {
  for (Scope* scope = this; scope != nullptr; scope = scope->outer_) {
    if (const std::optional<ValueId> value = scope->find(name)) return {scope, *value};
  }
  return {};
}

std::optional<std::set<std::string_view>> outer_reads(const Graph& graph, size_t deepest) {
  std::set<std::string_view> reads;
  if (!add_outer_reads(graph, deepest, reads)) return std::nullopt;
  return reads;
}

}  // namespace espalier
