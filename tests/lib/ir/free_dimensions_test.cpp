#include "lib/ir/free_dimensions.h"

#include <doctest/doctest.h>

#include "lib/base/error.h"

namespace espalier {
namespace {

// a [N, 4, ?], b [T, N], c of unknown rank.
Graph three_inputs() {
  Graph graph;
  for (const char* name : {"a", "b", "c"})
    graph.inputs.push_back(add_value(graph, name, DType::kF32));
  graph.values[0].shape = Shape{-1, 4, -1};
  graph.values[0].dimension_names = {"N", "", "?"};
  graph.values[1].shape = Shape{-1, -1};
  graph.values[1].dimension_names = {"T", "N"};
  return graph;
}

TEST_CASE("a name is bound wherever it is, an extent without a name at its place alone") {
  Graph graph = three_inputs();
  bind_free_dimensions(graph, {{"a", {5, -1, 7}}});
  CHECK(graph.values[0].shape == Shape{5, 4, 7});
  CHECK(graph.values[1].shape == Shape{-1, 5});
  CHECK(graph.values[1].dimension_names == std::vector<std::string>{"T", ""});
  CHECK_FALSE(graph.values[2].shape);
}

TEST_CASE("a shape gives an input of unknown rank its rank; -1 binds nothing") {
  Graph graph = three_inputs();
  bind_free_dimensions(graph, {{"a", {-1, 4, -1}}, {"c", {2, -1}}});
  CHECK(graph.values[0].shape == Shape{-1, 4, -1});
  CHECK(graph.values[0].dimension_names.front() == "N");
  CHECK(graph.values[2].shape == Shape{2, -1});
}

TEST_CASE("shapes that cannot be bound are refused") {
  const auto refusal = [](const std::map<std::string, Shape>& shapes) -> std::string {
    Graph graph = three_inputs();
    try {
      bind_free_dimensions(graph, shapes);
    } catch (const Error& error) {
      CHECK(error.fault() == Fault::kUsage);
      return error.what();
    }
    return "no error";
  };
  CHECK(refusal({{"d", {1}}}) == "a shape is given for 'd', which is not an input of the model");
  CHECK(refusal({{"a", {1, 5, 1}}}).find("does not match input 'a' of shape") != std::string::npos);
  CHECK(refusal({{"a", {1, 4}}}).find("does not match") != std::string::npos);
  CHECK(refusal({{"a", {-2, 4, 1}}}).find("does not match") != std::string::npos);
  CHECK(refusal({{"a", {5, 4, 1}}, {"b", {1, 6}}}) == "dimension 'N' is bound to 5 and to 6");
}

}  // namespace
}  // namespace espalier
