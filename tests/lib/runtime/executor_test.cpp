#include "lib/runtime/executor.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/lib/runtime/graph_maker.h"

namespace espalier {
namespace {

// y = relu(x + w) + relu(x + w)
Maker small() {
  Maker maker;
  maker.input("x", DType::kF32, Shape{-1, 2}).weight("w", floats({2}, {1, -1}));
  maker.node("Add", {"x", "w"}, {"sum"});
  maker.node("Relu", {"sum"}, {"positive"});
  maker.node("Add", {"positive", "positive"}, {"y"});
  maker.output("y");
  return maker;
}

std::string error_of(const auto& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST_CASE("a model runs, with other shapes too, and again with the first ones") {
  Executor executor(small().model(), {});
  for (const int64_t rows : {1, 1, 3, 3, 1, 0, 2}) {
    Tensor x = Tensor::zeros(DType::kF32, {rows, 2});
    for (size_t i = 0; i < x.count(); ++i) x.mutable_data<float>()[i] = static_cast<float>(i);
    const Feed got = executor.run({{"x", x}});
    REQUIRE(got.at("y").shape() == Shape{rows, 2});
    for (size_t i = 0; i < x.count(); ++i) {
      const float sum = static_cast<float>(i) + (i % 2 == 0 ? 1.0F : -1.0F);
      CHECK(got.at("y").data<float>()[i] == 2 * std::max(sum, 0.0F));
    }
  }
}

TEST_CASE("inputs are checked by name, type and shape") {
  Executor executor(small().model(), {});
  const Tensor good = floats({1, 2}, {1, 2});
  CHECK(error_of([&] { executor.run({}); }) == "input x: it is missing");
  CHECK(error_of([&] {
          executor.run({{"x", good}, {"z", good}});
        }) == "input z: the model has no such input");
  CHECK(error_of([&] {
          executor.run({{"x", floats({2}, {1, 2})}});
        }) == "input x: shape is [2], the model expects [?, 2]");
  CHECK(error_of([&] {
          executor.run({{"x", floats({1, 3}, {1, 2, 3})}});
        }) == "input x: shape is [1, 3], the model expects [?, 2]");
  CHECK(error_of([&] {
          executor.run({{"x", Tensor::zeros(DType::kI64, {1, 2})}});
        }) == "input x: type is i64, the model expects f32");
  CHECK(error_of([&] { executor.run_bound(); }) == "input x: it is missing");
  executor.bind({{"x", good}});
  CHECK(error_of([&] { executor.run_bound(); }) == "no error");
  CHECK(error_of([&] { executor.output_view("z"); }) == "output z: the model has no such output");
}

TEST_CASE("an input that is not aligned, as mapped files have them, is read all the same") {
  std::vector<std::byte> bytes(1 + 2 * sizeof(float));
  const std::array<float, 2> values{3, 5};
  std::memcpy(bytes.data() + 1, values.data(), sizeof(values));
  const Tensor x(DType::kF32, {1, 2}, Bytes(bytes).subspan(1), nullptr);
  Executor executor(small().model(), {});
  CHECK(executor.run({{"x", x}}).at("y").data<float>()[1] == 8);
}

TEST_CASE("an executor runs bound memory again and again") {
  Executor executor(small().model(), {});
  CHECK(error_of([&] { executor.run_bound(); }) == "input x: it is missing");
  const TensorView x = executor.input_view("x", {1, 2});
  for (int i = 0; i < 4; ++i) {
    x.data<float>()[0] = static_cast<float>(i);
    x.data<float>()[1] = 0;
    executor.run_bound();
    const TensorView y = executor.output_view("y");
    CHECK(y.dims == Dims{1, 2});
    CHECK(y.data<float>()[0] == static_cast<float>(2 * i + 2));
    CHECK(y.data<float>()[1] == 0);
  }
}

TEST_CASE("errors in a run name the node, and the next run is right") {
  Maker maker;
  maker.input("x", DType::kF32, std::nullopt).weight("w", floats({3}, {1, 2, 3}));
  maker.node("Add", {"x", "w"}, {"y"});
  maker.output("y");
  Executor executor(maker.model(), {});
  const auto run = [&](const Tensor& x) { return executor.run({{"x", x}}); };
  CHECK(run(floats({1}, {1})).at("y").data<float>()[2] == 4);
  CHECK(error_of([&] {
          run(floats({2}, {1, 2}));
        }) == "node the_Add (Add): shapes [2] and [3] do not broadcast");
  CHECK(run(floats({1}, {1})).at("y").data<float>()[2] == 4);
}

TEST_CASE("operators that are not known are named, unless nobody needs them") {
  Maker maker = small();
  maker.node("Frobnicate", {"x"}, {"unused"});
  CHECK(unsupported_operators(maker.model()).empty());
  CHECK(error_of([&] { Executor(maker.model(), {}); }) == "no error");
  maker.output("unused");
  CHECK(unsupported_operators(maker.model()) ==
        std::vector<std::string>{"Frobnicate (the_Frobnicate)"});
  CHECK(error_of([&] { Executor(maker.model(), {}); }) ==
        "node the_Frobnicate (Frobnicate): the runtime does not know this operator");
  maker.graph.nodes.back().op = "Relu";
  maker.graph.nodes.back().domain = "com.example";
  CHECK(unsupported_operators(maker.model()) ==
        std::vector<std::string>{"com.example.Relu (the_Frobnicate)"});
}

TEST_CASE("a value that nobody makes is named") {
  Maker maker;
  maker.node("Relu", {"x"}, {"y"});
  maker.output("y");
  CHECK(error_of([&] { Executor(maker.model(), {}); }) == "value x is not defined by any node");
}

TEST_CASE("what depends on constants only is computed once") {
  Maker maker;
  maker.input("x", DType::kF32, Shape{2}).weight("a", floats({2}, {1, 2}));
  maker.weight("b", floats({2}, {3, 4}));
  maker.node("Add", {"a", "b"}, {"c"});
  maker.node("Mul", {"x", "c"}, {"y"});
  maker.output("y").output("c");
  Executor executor(maker.model(), {.profile = true});
  const Feed got = executor.run({{"x", floats({2}, {1, 10})}});
  CHECK(got.at("y").data<float>()[1] == 60);
  CHECK(got.at("c").data<float>()[0] == 4);
  REQUIRE(executor.times().size() == 1);
  CHECK(executor.times()[0].op == "Mul");
  CHECK(executor.times()[0].name == "the_Mul");
  CHECK(executor.times()[0].node == 1);  // in the model, though it is the only one that runs
  CHECK(executor.weight_bytes() == 2 * sizeof(float));
}

TEST_CASE("outputs that are inputs or weights, and an input read by nobody") {
  Maker maker;
  maker.input("x", DType::kF32, Shape{2}).input("unread", DType::kF32, Shape{1});
  maker.weight("w", floats({1}, {7}));
  maker.output("x").output("w");
  const Feed got =
      Executor(maker.model(), {}).run({{"x", floats({2}, {1, 2})}, {"unread", floats({1}, {0})}});
  CHECK(got.at("x").data<float>()[1] == 2);
  CHECK(got.at("w").data<float>()[0] == 7);
}

// Reshape shares memory; the value must outlive its first name.
TEST_CASE("a value that shares memory with another lives as long as both") {
  Maker maker;
  maker.input("x", DType::kF32, Shape{4})
      .weight("shape", Tensor::of<int64_t>({2}, std::vector<int64_t>{2, 2}));
  maker.node("Relu", {"x"}, {"a"});
  maker.node("Reshape", {"a", "shape"}, {"b"});
  maker.node("Neg", {"x"}, {"c"});
  maker.node("Exp", {"c"}, {"d"});
  maker.node("Neg", {"d"}, {"e"});
  maker.output("b").output("e");
  Executor executor(maker.model(), {});
  for (int i = 0; i < 3; ++i) {
    const Feed got = executor.run({{"x", floats({4}, {1, 2, 3, 4})}});
    CHECK(got.at("b").shape() == Shape{2, 2});
    CHECK(got.at("b").data<float>()[3] == 4);
  }
}

// The second output's extents depend on values, not on shapes: what was planned does not fit.
TEST_CASE("shapes that depend on values leave the plan") {
  Maker maker;
  maker.input("x", DType::kF32, Shape{3}).input("count", DType::kI64, Shape{1});
  maker.node("Neg", {"x"}, {"a"});
  maker.node("Tile", {"a", "count"}, {"b"});
  maker.node("Neg", {"b"}, {"y"});
  maker.node("Neg", {"a"}, {"z"});
  maker.output("y").output("z");
  Executor executor(maker.model(), {});
  for (const int64_t count : {1, 1, 4, 2, 2, 100, 1, 0, 5}) {
    const std::vector<int64_t> counts{count};
    const Feed got =
        executor.run({{"x", floats({3}, {1, 2, 3})}, {"count", Tensor::of<int64_t>({1}, counts)}});
    REQUIRE(got.at("y").shape() == Shape{3 * count});
    for (size_t i = 0; i < got.at("y").count(); ++i) {
      CHECK(got.at("y").data<float>()[i] == static_cast<float>(i % 3 + 1));
    }
    CHECK(got.at("z").data<float>()[2] == 3);
  }
}

TEST_CASE("memory that there is not is refused") {
  Maker maker;
  maker.input("shape", DType::kI64, Shape{3});
  maker.node("ConstantOfShape", {"shape"}, {"y"});
  maker.output("y");
  Executor executor(maker.model(), {});
  const auto run = [&](std::vector<int64_t> shape) {
    return error_of([&] { executor.run({{"shape", Tensor::of<int64_t>({3}, shape)}}); });
  };
  CHECK(run({1 << 20, 1 << 20, 1}).find("node the_ConstantOfShape (ConstantOfShape): ") == 0);
  CHECK(run({int64_t{1} << 40, int64_t{1} << 40, 1}).find("is too large") != std::string::npos);
  CHECK(run({-1, 1, 1}).find("negative") != std::string::npos);
  CHECK(run({2, 2, 2}) == "no error");
}

std::shared_ptr<const Graph> branch(const std::string& op, const std::vector<std::string>& inputs) {
  Maker maker;
  maker.node(op, inputs, {"result"});
  maker.output("result");
  return std::make_shared<const Graph>(maker.graph);
}

TEST_CASE("If runs one branch, which reads values around it") {
  Maker maker;
  maker.input("condition", DType::kBool, Shape{}).input("x", DType::kF32, Shape{-1});
  maker.weight("w", floats({1}, {10}));
  maker.node("Neg", {"x"}, {"negative"});
  Node& node = maker.node("If", {"condition"}, {"y"});
  set_attribute(node, "then_branch", branch("Add", {"negative", "w"}));
  set_attribute(node, "else_branch", branch("Concat", {"negative", "x"}));
  maker.output("y");
  CHECK(error_of([&] { Executor(maker.model(), {}); }) == "no error");
  Executor executor(maker.model(), {});
  for (const bool taken : {true, false, false, true, true}) {
    const std::vector<uint8_t> flag{static_cast<uint8_t>(taken)};
    Tensor condition = Tensor::zeros(DType::kBool, {});
    condition.mutable_data<uint8_t>()[0] = flag[0];
    const auto run = [&] {
      return executor.run({{"condition", condition}, {"x", floats({2}, {1, 2})}});
    };
    if (!taken) {  // Concat's axis defaults to 1, which a list does not have
      CHECK(error_of(run) ==
            "node the_If (If): node the_Concat (Concat): axis is 1, expected -1 to 0");
      continue;
    }
    CHECK(run().at("y").data<float>()[1] == 8);
  }
}

TEST_CASE("If inside If reads values of the outermost graph") {
  Maker inner;
  Node& nested = inner.node("If", {"condition"}, {"result"});
  set_attribute(nested, "then_branch", branch("Relu", {"x"}));
  set_attribute(nested, "else_branch", branch("Neg", {"x"}));
  inner.output("result");
  Maker maker;
  maker.input("condition", DType::kBool, Shape{}).input("x", DType::kF32, Shape{1});
  Node& node = maker.node("If", {"condition"}, {"y"});
  set_attribute(node, "then_branch", std::make_shared<const Graph>(inner.graph));
  set_attribute(node, "else_branch", branch("Exp", {"x"}));
  maker.output("y");
  Executor executor(maker.model(), {});
  Tensor yes = Tensor::zeros(DType::kBool, {});
  yes.mutable_data<uint8_t>()[0] = 1;
  CHECK(executor.run({{"condition", yes}, {"x", floats({1}, {5})}}).at("y").data<float>()[0] == 5);
}

TEST_CASE("If names what a branch wants") {
  Maker maker;
  maker.input("condition", DType::kBool, Shape{}).input("x", DType::kF32, Shape{1});
  Node& node = maker.node("If", {"condition"}, {"y"});
  set_attribute(node, "then_branch", branch("Frobnicate", {"x"}));
  set_attribute(node, "else_branch", branch("Exp", {"nowhere"}));
  maker.output("y");
  CHECK(unsupported_operators(maker.model()) ==
        std::vector<std::string>{"Frobnicate (the_Frobnicate)"});
  set_attribute(maker.graph.nodes[0], "then_branch", branch("Relu", {"x"}));
  CHECK(error_of([&] { Executor(maker.model(), {}); }) ==
        "value nowhere is not defined by any node");
}

}  // namespace
}  // namespace espalier
