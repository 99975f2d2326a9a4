// Weights that operators make of constants become constants, where nothing grows.

#include "lib/passes/uncover_weights.h"

#include <doctest/doctest.h>

#include <array>

#include "lib/runtime/executor.h"
#include "lib/sparse/pack.h"
#include "tests/lib/runtime/graph_maker.h"

namespace espalier {
namespace {

Tensor ramp(Shape shape, float start = 0) {
  Tensor result = Tensor::zeros(DType::kF32, std::move(shape));
  float value = start;
  for (float& x : result.mutable_data<float>()) x = (value += 0.125F);
  return result;
}
Tensor ints(const std::vector<int64_t>& values) {
  return Tensor::of<int64_t>({static_cast<int64_t>(values.size())}, values);
}

Model uncovered(const Model& model) {
  ThreadPool pool(1);
  Model result = with_uncovered_weights(model, pool);
  validate_and_sort(result.graph);
  return result;
}

std::vector<std::string> ops_of(const Graph& graph) {
  std::vector<std::string> result;
  for (const Node& node : graph.nodes) result.push_back(node.op);
  return result;
}
using Ops = std::vector<std::string>;

const Graph& subgraph(const Node& node, size_t attribute) {
  return *std::get<std::shared_ptr<const Graph>>(node.attributes.at(attribute).value);
}

const Weight* weight_called(const Graph& graph, const std::string& name) {
  for (const auto& [value, weight] : graph.weights) {
    if (graph.values[value].name == name) return &weight;
  }
  return nullptr;
}

void check_same_outputs(const Model& a, const Model& b, const Feed& feed) {
  const Feed from_a = Executor(a, {.passes = PassOptions::none()}).run(feed);
  const Feed from_b = Executor(b, {.passes = PassOptions::none()}).run(feed);
  for (const auto& [name, tensor] : from_a) CHECK(same_bits(tensor, from_b.at(name)));
}

Feed x_feed(Shape shape) { return {{"x", ramp(std::move(shape), -1)}}; }

}  // namespace

TEST_CASE("a transposed weight is uncovered under its name") {
  Maker m;
  m.input("x", DType::kF32, Shape{2, 4}).weight("w", ramp({6, 4}));
  m.node("Transpose", {"w"}, {"wt"});
  m.node("MatMul", {"x", "wt"}, {"y"});
  m.output("y");
  const Model model = uncovered(m.model());
  CHECK(ops_of(model.graph) == Ops{"MatMul"});
  CHECK(model.graph.weights.size() == 1);
  REQUIRE(weight_called(model.graph, "w") != nullptr);
  CHECK(weight_called(model.graph, "w")->shape() == Shape{4, 6});
  CHECK(*model.graph.values[model.graph.nodes[0].inputs[1]].shape == Shape{4, 6});
  check_same_outputs(m.model(), model, x_feed({2, 4}));
}

TEST_CASE("a weight times its mask has the weight's name, whichever comes first") {
  Tensor mask = ramp({6, 4});
  size_t at = 0;
  for (float& one : mask.mutable_data<float>()) one = static_cast<float>(at++ % 2);
  for (const bool mask_first : {false, true}) {
    for (const bool mask_left : {false, true}) {
      CAPTURE(mask_first);
      CAPTURE(mask_left);
      Maker m;
      m.input("x", DType::kF32, Shape{2, 6});
      if (mask_first) m.weight("fc.mask", mask);
      m.weight("fc.orig", ramp({6, 4}));
      if (!mask_first) m.weight("fc.mask", mask);
      if (mask_left) {
        m.node("Mul", {"fc.mask", "fc.orig"}, {"w"});
      } else {
        m.node("Mul", {"fc.orig", "fc.mask"}, {"w"});
      }
      m.node("MatMul", {"x", "w"}, {"y"});
      m.output("y");
      ThreadPool pool(1);
      const auto result = uncover_weights(m.model(), pool);
      REQUIRE(result.has_value());
      CHECK(result->weights == std::vector<std::string>{"fc.orig"});
      CHECK(ops_of(result->model.graph) == Ops{"MatMul"});
      REQUIRE(weight_called(result->model.graph, "fc.orig") != nullptr);
      CHECK(result->model.graph.weights.size() == 1);
      check_same_outputs(m.model(), result->model, x_feed({2, 6}));
    }
  }
}

TEST_CASE("what two branches make of outer weights becomes one weight around them") {
  const auto branch = [](const std::string& tag) {
    Maker m;
    for (const int64_t gate : {0, 1}) {
      const std::string at = tag + std::to_string(gate);
      m.weight("from" + at, ints({2 * gate})).weight("to" + at, ints({2 * gate + 2}));
      m.node("Slice", {"w", "from" + at, "to" + at}, {"part" + at});
    }
    m.weight("axes" + tag, ints({0}));
    m.node("Concat", {"part" + tag + "1", "part" + tag + "0"}, {"turned" + tag});
    set_attribute(m.graph.nodes.back(), "axis", int64_t{0});
    m.node("Unsqueeze", {"turned" + tag, "axes" + tag}, {"w3" + tag});
    m.node("MatMul", {"x", "w3" + tag}, {"y" + tag});
    m.output("y" + tag);
    return std::make_shared<const Graph>(m.graph);
  };
  Maker m;
  m.input("x", DType::kF32, Shape{1, 2, 4}).input("c", DType::kBool, Shape{});
  m.weight("w", ramp({4, 5}));
  Node& node = m.node("If", {"c"}, {"z"});
  set_attribute(node, "then_branch", branch("a"));
  set_attribute(node, "else_branch", branch("b"));
  m.output("z");
  const Model model = uncovered(m.model());
  CHECK(model.graph.weights.size() == 1);
  REQUIRE(weight_called(model.graph, "w") != nullptr);
  CHECK(weight_called(model.graph, "w")->shape() == Shape{1, 4, 5});
  for (const size_t i : {0, 1}) {
    const Graph& sub = subgraph(model.graph.nodes[0], i);
    CHECK(ops_of(sub) == Ops{"MatMul"});
    CHECK(sub.weights.empty());
    CHECK(sub.values[sub.nodes[0].inputs[1]].name == "w");
  }
  for (const bool condition : {false, true}) {
    check_same_outputs(
        m.model(), model,
        {{"x", ramp({1, 2, 4})}, {"c", Tensor::of<bool>({}, std::array{condition})}});
  }
}

TEST_CASE("one weight that is split gives several, called after it") {
  Maker m;
  m.input("x", DType::kF32, Shape{2, 4}).weight("qkv", ramp({4, 18}));
  m.weight("q", ramp({4, 6}));  // a name that is taken
  m.weight("sizes", ints({6, 6, 6}));
  set_attribute(m.node("Split", {"qkv", "sizes"}, {"a", "b", "c"}), "axis", int64_t{1});
  m.node("MatMul", {"x", "a"}, {"xa"});
  m.node("MatMul", {"x", "b"}, {"xb"});
  m.node("MatMul", {"x", "c"}, {"xc"});
  m.output("xa").output("xb").output("xc");
  const Model model = uncovered(m.model());
  CHECK(ops_of(model.graph) == Ops{"MatMul", "MatMul", "MatMul"});
  for (const char* name : {"qkv.0", "qkv.1", "qkv.2"}) CHECK(weight_called(model.graph, name));
  CHECK(!weight_called(model.graph, "qkv"));
  check_same_outputs(m.model(), model, x_feed({2, 4}));
}

TEST_CASE("weights stay where they are if the file would grow") {
  const auto unchanged = [](Maker& m) {
    const Model model = uncovered(m.model());
    CHECK(ops_of(model.graph) == ops_of(m.graph));
    CHECK(model.graph.weights.size() == m.graph.weights.size());
  };
  Maker tied;  // a table of words that also makes the last product
  tied.input("x", DType::kF32, Shape{2, 4}).weight("w", ramp({6, 4})).weight("i", ints({1}));
  tied.node("Transpose", {"w"}, {"wt"});
  tied.node("MatMul", {"x", "wt"}, {"y"});
  tied.node("Gather", {"w", "i"}, {"g"});
  unchanged(tied.output("y").output("g"));
  Maker half;  // f16 on disk
  half.input("x", DType::kF32, Shape{2, 4});
  half.weight("w", from_f32(std::vector<float>(24, 0.5F), DType::kF16, {4, 6}));
  set_attribute(half.node("Cast", {"w"}, {"wf"}), "to", int64_t{1});
  half.node("MatMul", {"x", "wf"}, {"y"});
  unchanged(half.output("y"));
  Maker shown;  // the constant is an output too
  shown.input("x", DType::kF32, Shape{2, 4}).weight("w", ramp({6, 4}));
  shown.node("Transpose", {"w"}, {"wt"});
  shown.node("MatMul", {"x", "wt"}, {"y"});
  unchanged(shown.output("y").output("w"));
  Maker given;  // a default that the caller may replace
  given.input("x", DType::kF32, Shape{2, 4}).weight("w", ramp({6, 4})).input("w", DType::kF32, {});
  given.node("Transpose", {"w"}, {"wt"});
  given.node("MatMul", {"x", "wt"}, {"y"});
  unchanged(given.output("y"));
  Maker same;  // nothing is made: who looks for weights looks through Identity
  same.input("x", DType::kF32, Shape{2, 4}).weight("w", ramp({4, 6}));
  same.node("Identity", {"w"}, {"wi"});
  same.node("MatMul", {"x", "wi"}, {"y"});
  unchanged(same.output("y"));
  Maker none;  // nothing to uncover
  none.input("x", DType::kF32, Shape{2, 4}).weight("w", ramp({4, 6}));
  none.node("MatMul", {"x", "w"}, {"y"});
  none.node("Relu", {"x"}, {"unread"});
  unchanged(none.output("y"));
}

TEST_CASE("packed weights are left alone") {
  Maker m;
  m.input("x", DType::kF32, Shape{2, 4}).weight("w", ramp({6, 4}));
  const Fold fold{1, 6, 4, false};
  m.graph.weights[m.value("w")].value =
      pack_blocks(ramp({6, 4}), fold, BlockMask({2, 1}, fold, true), false);
  m.node("Transpose", {"w"}, {"wt"});
  m.node("MatMul", {"x", "wt"}, {"y"});
  m.output("y");
  const Model model = uncovered(m.model());
  CHECK(ops_of(model.graph) == Ops{"Transpose", "MatMul"});
  CHECK(weight_called(model.graph, "w")->is_sparse());
}

TEST_CASE("a refused weight keeps others that share its constants") {
  // w1 is made of w alone, but w is still read by what makes the wide one, which is refused.
  Maker m;
  m.input("x", DType::kF32, Shape{2, 4}).weight("w", ramp({6, 4})).weight("twice", ints({1, 2}));
  m.node("Transpose", {"w"}, {"w1"});
  m.node("MatMul", {"x", "w1"}, {"y"});
  m.node("Tile", {"w1", "twice"}, {"w2"});
  m.node("MatMul", {"x", "w2"}, {"z"});
  m.output("y").output("z");
  const Model model = uncovered(m.model());
  CHECK(ops_of(model.graph) == ops_of(m.graph));
  check_same_outputs(m.model(), model, x_feed({2, 4}));
}

}  // namespace espalier
