#include "lib/ir/model.h"

#include <doctest/doctest.h>

namespace espalier {
namespace {

TEST_CASE("attributes are found by name and kind") {
  Node node;
  set_attribute(node, "axis", int64_t{2});
  set_attribute(node, "alpha", 0.5F);
  set_attribute(node, "pads", std::vector<int64_t>{1, 2});
  CHECK(int_attribute(node, "axis", 7) == 2);
  CHECK(int_attribute(node, "alpha", 7) == 7);
  CHECK(int_attribute(node, "none", 7) == 7);
  CHECK(float_attribute(node, "alpha", 1) == 0.5F);
  CHECK(ints_attribute(node, "pads", {}) == std::vector<int64_t>{1, 2});
  set_attribute(node, "axis", std::string("x"));
  CHECK(node.attributes.size() == 3);
  CHECK(string_attribute(node, "axis", "") == "x");
  CHECK(find_attribute(node, "none") == nullptr);
}

TEST_CASE("an operator of another domain carries its name") {
  Node node;
  node.op = "Gemm";
  CHECK(full_op_name(node) == "Gemm");
  node.domain = "ai.onnx";
  CHECK(full_op_name(node) == "Gemm");
  node.domain = "com.example";
  CHECK(full_op_name(node) == "com.example.Gemm");
}

TEST_CASE("graphs in graphs are visited and changed with the path of their nodes") {
  Graph inner;
  inner.name = "inner";
  Graph outer;
  outer.name = "outer";
  Node named;
  named.op = "If";
  named.name = "choose";
  set_attribute(named, "then_branch", std::make_shared<const Graph>(inner));
  Node nameless;
  nameless.op = "Loop";
  set_attribute(nameless, "body", std::make_shared<const Graph>(inner));
  outer.nodes = {named, nameless};
  std::vector<std::string> seen;
  for_each_graph(outer, [&](const Graph& graph, const std::string& prefix) {
    seen.push_back(prefix + graph.name);
  });
  CHECK(seen == std::vector<std::string>{"outer", "choose/then_branch/inner", "Loop_1/body/inner"});
  const Graph changed = transformed(
      outer, [](Graph& graph, const std::string& prefix) { graph.name = "at " + prefix; });
  seen.clear();
  for_each_graph(changed,
                 [&](const Graph& graph, const std::string&) { seen.push_back(graph.name); });
  CHECK(seen == std::vector<std::string>{"at ", "at choose/then_branch/", "at Loop_1/body/"});
  CHECK(outer.name == "outer");
}

TEST_CASE("a weight tells its shape and type, dense or packed") {
  Graph graph;
  const ValueId value = add_value(graph, "w");
  CHECK(find_weight(graph, value) == nullptr);
  graph.weights[value].value = Tensor::zeros(DType::kF16, {2, 3});
  CHECK(find_weight(graph, value)->shape() == Shape{2, 3});
  CHECK(find_weight(graph, value)->dtype() == DType::kF16);
  SparseMatrix packed;
  packed.shape = {4, 5};
  packed.dtype = DType::kBF16;
  graph.weights[value].value = packed;
  CHECK(graph.weights[value].is_sparse());
  CHECK(find_weight(graph, value)->shape() == Shape{4, 5});
  CHECK(find_weight(graph, value)->dtype() == DType::kBF16);
}

}  // namespace
}  // namespace espalier
