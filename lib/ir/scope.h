#pragma once

#include <optional>
#include <set>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lib/ir/model.h"

namespace espalier {

/// A graph among the graphs around it: tells which value of which graph a name means. A value that
/// the graph does not give itself (input, weight or output of a node) is the value of that name in
/// the nearest graph around it that gives one. Refers to the graph; names are looked up in a table
/// that is made at the first question, by one thread at a time.
class Scope {
 public:
  /// A value and the scope of the graph that gives it; no scope where none does.
  struct Place {
    Scope* scope = nullptr;
    ValueId value = kNoValue;
  };

  explicit Scope(const Graph& graph, Scope* outer = nullptr);

  const Graph& graph() const { return *graph_; }
  Scope* outer() const { return outer_; }

  bool gives(ValueId value) const { return given_[value]; }
  /// The value of that name that the graph itself gives.
  std::optional<ValueId> find(std::string_view name) const;
  /// The place of a value of this graph, or of a name that a subgraph reads.
  Place place_of(ValueId value);
  Place place_of(std::string_view name);

 private:
  const Graph* graph_;
  Scope* outer_;
  std::vector<bool> given_;  // by value
  mutable std::optional<std::unordered_map<std::string_view, ValueId>> by_name_;
};

/// Scope::place_of() for scopes that keep notes: S is derived from Scope, as are all around it.
template <typename S>
struct PlaceIn {
  S* scope = nullptr;
  ValueId value = kNoValue;
};
template <typename S>
PlaceIn<S> place_in(S& scope, ValueId value) {
  const Scope::Place place = scope.place_of(value);
  return {static_cast<S*>(place.scope), place.value};
}

/// Names that the graph and the subgraphs in it read from the graphs around it, in alphabetical
/// order; they live as long as the graph. Nothing where subgraphs are nested more than `deepest`
/// levels deep, the graph being the first.
std::optional<std::set<std::string_view>> outer_reads(const Graph& graph, size_t deepest);

}  // namespace espalier
