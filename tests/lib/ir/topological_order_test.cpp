#include <doctest/doctest.h>

#include <chrono>

#include "lib/base/error.h"
#include "lib/ir/model.h"

namespace espalier {
namespace {

// A graph built from names: values are made when they are first named.
struct Builder {
  Graph graph;

  ValueId value(const std::string& name) {
    for (ValueId i = 0; i < graph.values.size(); ++i) {
      if (graph.values[i].name == name) return i;
    }
    return add_value(graph, name);
  }
  std::vector<ValueId> values(const std::vector<std::string>& names) {
    std::vector<ValueId> ids;
    for (const std::string& name : names) ids.push_back(name.empty() ? kNoValue : value(name));
    return ids;
  }
  Node& node(const std::string& name, const std::vector<std::string>& inputs,
             const std::vector<std::string>& outputs, const std::string& op = "Op") {
    graph.nodes.push_back({op, "", name, values(inputs), values(outputs), {}, {}});
    return graph.nodes.back();
  }
  void input(const std::string& name) { graph.inputs.push_back(value(name)); }
  void output(const std::string& name) { graph.outputs.push_back(value(name)); }
  void weight(const std::string& name) { graph.weights[value(name)] = {}; }
};

std::string order_of(const Graph& graph) {
  std::string order;
  for (const Node& node : graph.nodes) order += node.name;
  return order;
}

Attribute subgraph(Graph graph) {
  return {"body", std::make_shared<const Graph>(std::move(graph)), {}};
}

TEST_CASE("nodes come after the makers of what they read, else in their old order") {
  Builder b;
  b.input("x");
  b.weight("w");
  b.node("c", {"p", "q", ""}, {"y"});
  b.node("a", {"x", "w"}, {"p", ""});
  b.node("b", {"x"}, {"q"});
  b.output("y");
  validate_and_sort(b.graph);
  CHECK(order_of(b.graph) == "abc");
  validate_and_sort(b.graph);
  CHECK(order_of(b.graph) == "abc");
}

TEST_CASE("a value that nobody makes is an error that names value and node") {
  Builder b;
  b.input("x");
  b.node("add", {"x", "ghost"}, {"y"});
  CHECK_THROWS_WITH_AS(validate_and_sort(b.graph),
                       "value ghost, read by node Op (add), is not defined", Error);
  CHECK_NOTHROW(validate_and_sort(b.graph, [](std::string_view name) { return name == "ghost"; }));
  CHECK_THROWS_AS(validate_and_sort(b.graph, [](std::string_view name) { return name == "g"; }),
                  Error);
}

TEST_CASE("an output that nobody makes is an error that names it") {
  Builder b;
  b.output("y\x1b");
  CHECK_THROWS_WITH_AS(validate_and_sort(b.graph),
                       "value y\\x1b, an output of the graph, is not defined", Error);
}

TEST_CASE("outputs may be inputs and weights") {
  Builder b;
  b.input("x");
  b.weight("w");
  b.output("x");
  b.output("w");
  CHECK_NOTHROW(validate_and_sort(b.graph));
}

TEST_CASE("a value made twice is an error, whoever made it first") {
  for (const std::string first : {"node", "input", "weight"}) {
    CAPTURE(first);
    Builder b;
    if (first == "node") b.node("n", {}, {"y"});
    if (first == "input") b.input("y");
    if (first == "weight") b.weight("y");
    b.node("second", {}, {"y"});
    CHECK_THROWS_WITH_AS(validate_and_sort(b.graph),
                         "value y is defined twice, the second time by node Op (second)", Error);
  }
}

TEST_CASE("the value of a Constant node lies among the weights, but only one node makes it") {
  Builder b;
  b.node("c", {}, {"w"}, "Constant");
  b.weight("w");
  b.node("n", {"w"}, {"y"});
  CHECK_NOTHROW(validate_and_sort(b.graph));
  b.node("d", {}, {"w"}, "Constant");
  CHECK_THROWS_WITH_AS(validate_and_sort(b.graph), doctest::Contains("defined twice"), Error);
}

TEST_CASE("a cycle is an error, also of a node with itself") {
  Builder b;
  b.node("a", {"q"}, {"p"});
  b.node("b", {"p"}, {"q"});
  CHECK_THROWS_WITH_AS(validate_and_sort(b.graph), doctest::Contains("node Op (a) is part of"),
                       Error);
  Builder self;
  self.node("s", {"p"}, {"p"});
  CHECK_THROWS_WITH_AS(validate_and_sort(self.graph), doctest::Contains("cycle"), Error);
}

TEST_CASE("a node waits for the makers of the values that its subgraphs read from outside") {
  Builder inner;  // reads "late", hides "own"
  inner.node("i", {"late", "own"}, {"z"});
  inner.weight("own");
  Builder middle;
  middle.node("m", {}, {"y"}).attributes.push_back(subgraph(inner.graph));
  middle.output("y");
  Builder b;
  b.node("a", {}, {"r"}, "If").attributes.push_back(subgraph(middle.graph));
  b.node("b", {"start"}, {"late"});
  b.node("c", {}, {"start"});
  validate_and_sort(b.graph);
  CHECK(order_of(b.graph) == "cba");
}

TEST_CASE("a subgraph that reads what is nowhere is an error that names the value and its node") {
  Builder inner;
  inner.output("ghost");
  Builder b;
  b.node("a", {}, {"r"}, "If").attributes.push_back(subgraph(inner.graph));
  CHECK_THROWS_WITH_AS(validate_and_sort(b.graph),
                       "value ghost, read by node If (a), is not defined", Error);
  CHECK_NOTHROW(validate_and_sort(b.graph, [](std::string_view name) { return name == "ghost"; }));
}

TEST_CASE("a node whose subgraph reads the node's own output is a cycle") {
  Builder inner;
  inner.output("r");
  Builder b;
  b.node("a", {}, {"r"}, "If").attributes.push_back(subgraph(inner.graph));
  CHECK_THROWS_WITH_AS(validate_and_sort(b.graph), doctest::Contains("cycle"), Error);
}

TEST_CASE("subgraphs nested without end are refused") {
  Graph graph;
  for (int depth = 0; depth < 150; ++depth) {
    Builder outer;
    outer.node("n", {}, {}).attributes.push_back(subgraph(std::move(graph)));
    graph = std::move(outer.graph);
  }
  CHECK_THROWS_WITH_AS(validate_and_sort(graph), doctest::Contains("more than 100 levels deep"),
                       Error);
}

TEST_CASE("a hundred thousand nodes in a chain, back to front, with as many inputs and weights") {
  constexpr ValueId kNodes = 100'000;
  Graph graph;
  for (ValueId i = 0; i <= 3 * kNodes; ++i) add_value(graph, std::to_string(i));
  graph.inputs.push_back(0);
  for (ValueId i = kNodes; i > 0; --i) {
    graph.nodes.push_back(
        {"Op", "", std::to_string(i), {i - 1, kNodes + i, 2 * kNodes + i}, {i}, {}, {}});
    graph.inputs.push_back(kNodes + i);
    graph.weights[2 * kNodes + i] = {};
  }
  graph.outputs.push_back(kNodes);
  const auto start = std::chrono::steady_clock::now();
  validate_and_sort(graph);
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  CHECK(graph.nodes.front().name == "1");
  CHECK(graph.nodes.back().name == std::to_string(kNodes));
  CHECK(time.count() < 10);  // a quadratic step would take minutes
  MESSAGE("100000 nodes in " << time.count() << " s");
}

}  // namespace
}  // namespace espalier
