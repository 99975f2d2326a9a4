#include "lib/ir/scope.h"

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <utility>

namespace espalier {
namespace {

using Reads = std::set<std::string_view>;

Node node_of(std::vector<ValueId> inputs, std::vector<ValueId> outputs) {
  return {"Op", "", "", std::move(inputs), std::move(outputs), {}, {}};
}

// A graph with weight "w", input "x", "y" made from both, and `inner` in a node that makes "z".
Graph around(Graph inner) {
  Graph graph;
  const ValueId w = add_value(graph, "w"), x = add_value(graph, "x"), y = add_value(graph, "y");
  const ValueId z = add_value(graph, "z");
  graph.weights[w] = {};
  graph.inputs = {x};
  graph.nodes = {node_of({x, w, kNoValue}, {y}), node_of({y}, {z, kNoValue})};
  set_attribute(graph.nodes[1], "body", std::make_shared<const Graph>(std::move(inner)));
  graph.outputs = {z};
  return graph;
}

// Reads "w" and "y" from around it, and "x", which is its own; gives `from_outside` as output.
Graph reader(const std::string& from_outside) {
  Graph graph;
  const ValueId w = add_value(graph, "w"), y = add_value(graph, "y"), x = add_value(graph, "x");
  graph.nodes = {node_of({w, y}, {x})};
  graph.outputs = {x, add_value(graph, from_outside)};
  return graph;
}

TEST_CASE("a graph finds what it gives itself by name, and nothing else") {
  const Graph graph = around(reader("v"));
  const Scope scope(graph);
  for (const char* name : {"w", "x", "y", "z"}) {
    const std::optional<ValueId> found = scope.find(name);
    REQUIRE(found);
    CHECK(graph.values[*found].name == name);
    CHECK(scope.gives(*found));
  }
  CHECK_FALSE(scope.find("v"));
  const Graph* inner = find_subgraph(graph.nodes[1], "body");
  REQUIRE(inner != nullptr);
  const Scope alone(*inner);
  CHECK_FALSE(alone.find("w"));  // it has a value of that name, which it only reads
  CHECK_FALSE(alone.gives(0));
  CHECK(find_subgraph(graph.nodes[1], "other") == nullptr);
}

TEST_CASE("a name means the value of the nearest graph around that gives one") {
  const Graph outermost = around(around(reader("z")));
  const Graph* middle = find_subgraph(outermost.nodes[1], "body");
  const Graph* inner = find_subgraph(middle->nodes[1], "body");
  Scope top(outermost), between(*middle, &top), scope(*inner, &between);
  const Scope::Place w = scope.place_of(inner->nodes[0].inputs[0]);
  CHECK(w.scope == &between);
  CHECK(middle->values[w.value].name == "w");
  const Scope::Place x = scope.place_of(inner->nodes[0].outputs[0]);
  CHECK(x.scope == &scope);
  CHECK(between.place_of("z").scope == &between);
  CHECK(scope.place_of("nowhere").scope == nullptr);
  CHECK(scope.place_of(kNoValue).scope == nullptr);
  Scope lone(*inner);
  CHECK(lone.place_of(inner->nodes[0].inputs[0]).scope == nullptr);
}

TEST_CASE("scopes that keep notes give their own kind back") {
  struct Noted : Scope {
    using Scope::Scope;
    std::string note;
  };
  const Graph graph = around(reader("v"));
  Noted outer(graph);
  outer.note = "outer";
  Noted inner(*find_subgraph(graph.nodes[1], "body"), &outer);
  CHECK(place_in(inner, inner.graph().nodes[0].inputs[1]).scope->note == "outer");
}

TEST_CASE("what graphs read from around them is told by name, through graphs in graphs") {
  const Graph graph = around(reader("v"));
  CHECK(*outer_reads(reader("v"), 1) == Reads{"v", "w", "y"});
  CHECK(*outer_reads(graph, 2) == Reads{"v"});
  CHECK_FALSE(outer_reads(graph, 1));
  CHECK_FALSE(outer_reads(around(graph), 2));
  CHECK(*outer_reads(around(graph), 3) == Reads{"v"});
  CHECK(outer_reads(around(reader("x")), 2)->empty());
}

}  // namespace
}  // namespace espalier
