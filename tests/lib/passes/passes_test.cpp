// Each pass alone: what it makes of a graph, and that the graph computes what it computed.

#include "lib/passes/pass.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "lib/base/error.h"
#include "lib/runtime/executor.h"
#include "lib/sparse/pack.h"
#include "tests/lib/runtime/graph_maker.h"

namespace espalier {
namespace {

Tensor random_floats(Shape shape, uint32_t seed, float spread = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, spread);
  Tensor result = Tensor::zeros(DType::kF32, std::move(shape));
  for (float& value : result.mutable_data<float>()) value = normal(random);
  return result;
}

Tensor scalar(float value) { return floats({}, {value}); }
Tensor ints(const std::vector<int64_t>& values) {
  return Tensor::of<int64_t>({static_cast<int64_t>(values.size())}, values);
}

void validate(const Graph& graph, const OuterValues& outer = {}) {
  Graph sorted = graph;
  validate_and_sort(sorted, outer);
  for (const Node& node : graph.nodes) {
    for_each_subgraph(node, [&](const Graph& sub) {
      validate(sub, [&](std::string_view name) {
        return std::ranges::count(graph.values, name, &Value::name) != 0 || (outer && outer(name));
      });
    });
  }
}

std::vector<std::string> ops_of(const Graph& graph) {
  std::vector<std::string> result;
  for (const Node& node : graph.nodes) result.push_back(full_op_name(node));
  return result;
}

using Ops = std::vector<std::string>;

Model after(const Model& model, std::string_view pass) {
  ThreadPool pool(1);
  PassOptions options = PassOptions::none();
  CHECK(options.off.erase(std::string(pass)) == 1);
  Model changed = with_passes(model, options, pool);
  validate(changed.graph);
  return changed;
}

// The largest difference between the outputs of two models, over the largest value. NaN and
// infinities must be in the same places.
double difference(const Model& a, const Model& b, const Feed& feed) {
  const auto run = [&](const Model& model) {
    return Executor(model, {.passes = PassOptions::none()}).run(feed);
  };
  const Feed from_a = run(a), from_b = run(b);
  REQUIRE(from_a.size() == from_b.size());
  double worst = 0, largest = 1e-6;
  for (const auto& [name, tensor] : from_a) {
    REQUIRE(tensor.shape() == from_b.at(name).shape());
    const std::vector<float> x = to_f32(tensor), y = to_f32(from_b.at(name));
    for (size_t i = 0; i < x.size(); ++i) {
      if (std::isnan(x[i]) != std::isnan(y[i])) return HUGE_VAL;
      if (std::isnan(x[i]) || x[i] == y[i]) continue;
      worst = std::max(worst, std::fabs(static_cast<double>(x[i]) - y[i]));
      largest = std::max(largest, std::fabs(static_cast<double>(x[i])));
    }
  }
  return worst / largest;
}

constexpr double kRounding = 2e-6;

// An input with ordinary values, large ones, infinities and NaN.
Tensor awkward(Shape shape) {
  Tensor result = random_floats(std::move(shape), 3, 2).copy();
  Tensor copy = Tensor::zeros(DType::kF32, result.shape());
  const auto to = copy.mutable_data<float>();
  std::ranges::copy(result.data<float>(), to.begin());
  const std::vector<float> odd{NAN, INFINITY, -INFINITY, 0.0F, -0.0F, 30.0F, -30.0F};
  for (size_t i = 0; i < std::min(odd.size(), to.size()); ++i)
    to[i * to.size() / 7 % to.size()] = odd[i];
  return copy;
}

}  // namespace

TEST_CASE("a pass that is not known is a usage error that lists the others") {
  const std::vector<std::string> wrong{"fold"}, right{"gelu", "silu"};
  CHECK(!passes_without(right).on("gelu"));
  CHECK(passes_without(right).on("fold_constants"));
  try {
    passes_without(wrong);
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.fault() == Fault::kUsage);
    CHECK(std::string(error.what()).find("fold_constants, gelu") != std::string::npos);
  }
  for (const Pass* pass : passes()) {
    CHECK(!PassOptions::none().on(pass->name));
    CHECK(!pass->summary.empty());
  }
}

TEST_CASE("fold_constants computes what is known, also inside branches") {
  Maker branch;
  branch.weight("axes", ints({0}));
  branch.node("Unsqueeze", {"w", "axes"}, {"w1"});  // w is the outer graph's
  branch.node("Add", {"x", "w1"}, {"y"});
  branch.output("y");
  Maker m;
  m.input("x", DType::kF32, Shape{1, 4}).input("c", DType::kBool, Shape{});
  m.weight("half", floats({2}, {1, 2}));
  m.node("Concat", {"half", "half"}, {"w"});
  set_attribute(m.graph.nodes.back(), "axis", int64_t{0});
  Node& node = m.node("If", {"c"}, {"z"});
  const auto graph = std::make_shared<const Graph>(branch.graph);
  set_attribute(node, "then_branch", graph);
  set_attribute(node, "else_branch", graph);
  m.output("z").output("w");
  const Model folded = after(m.model(), "fold_constants");
  CHECK(ops_of(folded.graph) == Ops{"If"});
  CHECK(folded.graph.weights.contains(m.value("w")));
  const auto& sub =
      std::get<std::shared_ptr<const Graph>>(folded.graph.nodes[0].attributes[0].value);
  CHECK(ops_of(*sub) == Ops{"Add"});
  const Feed feed{{"x", floats({1, 4}, {1, 2, 3, 4})},
                  {"c", Tensor::of<bool>({}, std::array{true})}};
  CHECK(difference(m.model(), folded, feed) == 0);
}

TEST_CASE("fold_constants leaves what is larger than the budget, and what fails") {
  Maker m;
  m.weight("shape", ints({1 << 20, 1 << 20}));
  m.weight("bad", ints({-5}));
  m.node("ConstantOfShape", {"shape"}, {"huge"});
  m.node("ConstantOfShape", {"bad"}, {"broken"});
  m.output("huge").output("broken");
  CHECK(ops_of(after(m.model(), "fold_constants").graph).size() == 2);
}

TEST_CASE("a packed weight behind Identity stays packed") {
  const Tensor dense = random_floats({16, 32}, 1);
  Maker m;
  m.input("x", DType::kF32, Shape{2, 16});
  const Fold fold{1, 32, 16, true};
  const BlockMask mask({16, 1}, fold, true);
  m.weight("w", dense);
  m.graph.weights[m.value("w")].value = pack_blocks(dense, fold, mask, false);
  m.node("Identity", {"w"}, {"w1"});
  m.node("MatMul", {"x", "w1"}, {"y"});
  m.output("y");
  const Model folded = after(m.model(), "fold_constants");
  CHECK(ops_of(folded.graph) == Ops{"MatMul"});
  CHECK(folded.graph.weights.at(m.value("w1")).is_sparse());
  CHECK(difference(m.model(), folded, {{"x", random_floats({2, 16}, 2)}}) < kRounding);
}

TEST_CASE("dead_nodes drops what nobody reads and keeps what subgraphs read") {
  Maker branch;
  branch.node("Add", {"x", "w"}, {"y"});
  branch.output("y");
  Maker m;
  m.input("x", DType::kF32, Shape{2}).input("c", DType::kBool, Shape{});
  m.weight("w", floats({2}, {1, 2})).weight("unread", floats({2}, {3, 4}));
  m.node("Relu", {"x"}, {"nobody"});
  Node& node = m.node("If", {"c"}, {"z"});
  const auto graph = std::make_shared<const Graph>(branch.graph);
  set_attribute(node, "then_branch", graph);
  set_attribute(node, "else_branch", graph);
  m.output("z");
  const Model changed = after(m.model(), "dead_nodes");
  CHECK(ops_of(changed.graph) == Ops{"If"});
  CHECK(changed.graph.weights.contains(m.value("w")));
  CHECK(!changed.graph.weights.contains(m.value("unread")));
}

namespace {

// A pattern over input x, its output y: what the pass makes of it, and that nothing else changed.
void check_pattern(Maker& m, const char* pass, const Ops& wanted, const Tensor& x) {
  m.output("y");
  const Model changed = after(m.model(), pass);
  CHECK(ops_of(changed.graph) == wanted);
  CHECK(difference(m.model(), changed, {{"x", x}}) < kRounding);
}

Maker with_x(Shape shape) {
  Maker m;
  m.input("x", DType::kF32, std::move(shape));
  return m;
}

}  // namespace

TEST_CASE("gelu recognises the spellings of exporters") {
  const Tensor x = awkward({3, 50});
  const auto erf_of = [](Maker& m, bool division) {
    m.weight("one", scalar(1)).weight("half", scalar(0.5F));
    m.weight("root", scalar(division ? 1.41421354F : 0.70710677F));
    m.node(division ? "Div" : "Mul", {"x", "root"}, {"u"});
    m.node("Erf", {"u"}, {"e"});
    m.node("Add", {"e", "one"}, {"a"});
  };
  for (const bool division : {true, false}) {
    Maker a = with_x({3, 50});
    erf_of(a, division);
    a.node("Mul", {"x", "a"}, {"p"});
    a.node("Mul", {"p", "half"}, {"y"});
    check_pattern(a, "gelu", {"Gelu"}, x);
    Maker b = with_x({3, 50});
    erf_of(b, division);
    b.node("Mul", {"half", "a"}, {"p"});
    b.node("Mul", {"x", "p"}, {"y"});
    check_pattern(b, "gelu", {"Gelu"}, x);
    Maker c = with_x({3, 50});
    erf_of(c, division);
    c.node("Mul", {"x", "half"}, {"h"});
    c.node("Mul", {"a", "h"}, {"y"});
    check_pattern(c, "gelu", {"Gelu"}, x);
  }
}

TEST_CASE("gelu recognises both forms with tanh") {
  // Ordinary values: x^3 overflows before the fused form does.
  const Tensor x = random_floats({3, 50}, 5, 3);
  const auto numbers = [](Maker& m) {
    m.weight("one", scalar(1)).weight("half", scalar(0.5F)).weight("three", scalar(3));
    m.weight("c", scalar(0.044715F)).weight("s", scalar(0.797884583F));
  };
  const auto ending = [](Maker& m) {
    m.node("Tanh", {"u"}, {"t"});
    m.node("Add", {"one", "t"}, {"a"});
    m.node("Mul", {"x", "a"}, {"p"});
    m.node("Mul", {"p", "half"}, {"y"});
  };
  Maker a = with_x({3, 50});
  numbers(a);
  a.node("Pow", {"x", "three"}, {"x3"});
  a.node("Mul", {"c", "x3"}, {"cx3"});
  a.node("Add", {"x", "cx3"}, {"sum"});
  a.node("Mul", {"sum", "s"}, {"u"});
  ending(a);
  check_pattern(a, "gelu", {"Gelu"}, x);
  Maker b = with_x({3, 50});
  numbers(b);
  b.node("Mul", {"x", "x"}, {"x2"});
  b.node("Mul", {"x2", "c"}, {"cx2"});
  b.node("Add", {"cx2", "one"}, {"sum"});
  b.node("Mul", {"x", "s"}, {"sx"});
  b.node("Mul", {"sx", "sum"}, {"u"});
  ending(b);
  check_pattern(b, "gelu", {"Gelu"}, x);
}

TEST_CASE("a pattern with another number, or that somebody else looks into, stays") {
  const auto gelu = [](float root) {
    Maker m = with_x({8});
    m.weight("one", scalar(1)).weight("half", scalar(0.5F)).weight("root", scalar(root));
    m.node("Div", {"x", "root"}, {"u"});
    m.node("Erf", {"u"}, {"e"});
    m.node("Add", {"e", "one"}, {"a"});
    m.node("Mul", {"x", "a"}, {"p"});
    m.node("Mul", {"p", "half"}, {"y"});
    return m;
  };
  Maker other = gelu(1.5F);
  check_pattern(other, "gelu", {"Div", "Erf", "Add", "Mul", "Mul"}, random_floats({8}, 1));
  Maker seen = gelu(1.41421354F);
  seen.output("e");
  check_pattern(seen, "gelu", {"Div", "Erf", "Add", "Mul", "Mul"}, random_floats({8}, 1));
  // A number of higher rank than x would give the result its rank.
  Maker tall = gelu(1.41421354F);
  tall.graph.weights[tall.value("half")].value = floats({1, 1}, {0.5F});
  check_pattern(tall, "gelu", {"Div", "Erf", "Add", "Mul", "Mul"}, random_floats({8}, 1));
}

TEST_CASE("silu, with and without a factor, where the type is f32 for certain") {
  const Tensor x = awkward({4, 9});
  Maker a = with_x({4, 9});
  a.node("Sigmoid", {"x"}, {"s"});
  a.node("Mul", {"s", "x"}, {"y"});
  check_pattern(a, "silu", {"Swish"}, x);
  Maker b = with_x({4, 9});
  b.weight("alpha", floats({1}, {1.702F}));
  b.node("Mul", {"x", "alpha"}, {"ax"});
  b.node("Sigmoid", {"ax"}, {"s"});
  b.node("Mul", {"x", "s"}, {"y"});
  check_pattern(b, "silu", {"Swish"}, x);
  Maker unknown;
  unknown.input("x", DType::kUnknown, Shape{4, 9});
  unknown.node("Sigmoid", {"x"}, {"s"});
  unknown.node("Mul", {"s", "x"}, {"y"});
  check_pattern(unknown, "silu", {"Sigmoid", "Mul"}, x);
}

TEST_CASE("hard_swish from Clip and from HardSigmoid") {
  const Tensor x = awkward({2, 3, 5});
  const auto clipped = [](Maker& m) {
    m.weight("3", floats({1}, {3})).weight("0", scalar(0)).weight("6", scalar(6));
    m.node("Add", {"x", "3"}, {"a"});
    m.node("Clip", {"a", "0", "6"}, {"c"});
  };
  Maker a = with_x({2, 3, 5});
  clipped(a);
  a.node("Mul", {"x", "c"}, {"p"});
  a.node("Div", {"p", "6"}, {"y"});
  check_pattern(a, "hard_swish", {"HardSwish"}, x);
  Maker b = with_x({2, 3, 5});
  clipped(b);
  b.node("Div", {"c", "6"}, {"g"});
  b.node("Mul", {"g", "x"}, {"y"});
  check_pattern(b, "hard_swish", {"HardSwish"}, x);
  Maker c = with_x({2, 3, 5});
  set_attribute(c.node("HardSigmoid", {"x"}, {"g"}), "alpha", 1.0F / 6);
  c.node("Mul", {"x", "g"}, {"y"});
  check_pattern(c, "hard_swish", {"HardSwish"}, x);
  Maker d = with_x({2, 3, 5});  // alpha 0.2 is another function
  d.node("HardSigmoid", {"x"}, {"g"});
  d.node("Mul", {"x", "g"}, {"y"});
  check_pattern(d, "hard_swish", {"HardSigmoid", "Mul"}, x);
}

namespace {

Maker layer_norm(Shape shape, int64_t places, std::vector<int64_t> axes, bool bias, bool product) {
  Maker m = with_x(std::move(shape));
  m.weight("eps", scalar(1e-5F)).weight("two", scalar(2));
  m.weight("scale", random_floats({places}, 1)).weight("bias", random_floats({places}, 2));
  set_attribute(m.node("ReduceMean", {"x"}, {"mean"}), "axes", axes);
  m.node("Sub", {"x", "mean"}, {"d"});
  if (product) {
    m.node("Mul", {"d", "d"}, {"dd"});
  } else {
    m.node("Pow", {"d", "two"}, {"dd"});
  }
  set_attribute(m.node("ReduceMean", {"dd"}, {"var"}), "axes", axes);
  m.node("Add", {"var", "eps"}, {"ve"});
  m.node("Sqrt", {"ve"}, {"s"});
  m.node("Div", {"d", "s"}, {"n"});
  m.node("Mul", {"n", "scale"}, {bias ? "m" : "y"});
  if (bias) m.node("Add", {"m", "bias"}, {"y"});
  return m;
}

}  // namespace

TEST_CASE("layer_norm over the last axis, with and without bias") {
  const Ops fused{"espalier.fused.LayerNormalization"};
  for (const bool bias : {true, false}) {
    for (const bool product : {true, false}) {
      Maker m = layer_norm({4, 6, 20}, 20, {-1}, bias, product);
      check_pattern(m, "layer_norm", fused, random_floats({4, 6, 20}, 4, 3));
    }
  }
  Maker third = layer_norm({4, 6, 20}, 20, {2}, true, false);
  check_pattern(third, "layer_norm", fused, awkward({4, 6, 20}));
  Maker single = layer_norm({4, 1}, 5, {-1}, true, false);  // broadcast by its scale
  check_pattern(single, "layer_norm", fused, random_floats({4, 1}, 4));
  Maker second = layer_norm({4, 6, 6}, 6, {1}, true, false);  // another axis
  second.output("y");
  CHECK(ops_of(after(second.model(), "layer_norm").graph).size() == 9);
}

namespace {

// Conv over [2, 4, 9, 7] with 6 outputs, and what follows it.
Maker conv(const char* op, int64_t groups, bool bias) {
  Maker m = with_x({2, 4, 9, 7});
  const bool transposed = std::string_view(op) == "ConvTranspose";
  m.weight("w",
           random_floats(transposed ? Shape{4, 6 / groups, 3, 3} : Shape{6, 4 / groups, 3, 3}, 7));
  m.weight("b", random_floats({6}, 8));
  std::vector<std::string> inputs{"x", "w"};
  if (bias) inputs.emplace_back("b");
  Node& node = m.node(op, inputs, {"c"});
  set_attribute(node, "group", groups);
  set_attribute(node, "pads", std::vector<int64_t>{1, 1, 1, 1});
  return m;
}

Maker& batch_norm(Maker& m) {
  m.weight("scale", random_floats({6}, 1)).weight("shift", random_floats({6}, 2));
  m.weight("mean", random_floats({6}, 3)).weight("var", floats({6}, {0.5F, 1, 2, 3, 0.1F, 1}));
  m.node("BatchNormalization", {"c", "scale", "shift", "mean", "var"}, {"y"});
  return m;
}

}  // namespace

TEST_CASE("conv_affine takes BatchNormalization into weight and bias") {
  for (const char* op : {"Conv", "ConvTranspose"}) {
    for (const int64_t groups : {1, 2}) {
      for (const bool bias : {true, false}) {
        CAPTURE(op);
        Maker m = conv(op, groups, bias);
        check_pattern(batch_norm(m), "conv_affine", {op}, awkward({2, 4, 9, 7}));
      }
    }
  }
}

TEST_CASE("conv_affine takes Mul and Add by constants along the channels, one after the other") {
  Maker m = conv("Conv", 2, false);
  m.weight("s", random_floats({6, 1, 1}, 1)).weight("t", random_floats({1, 6, 1, 1}, 2));
  m.weight("one", floats({1}, {0.25F}));
  m.node("Mul", {"s", "c"}, {"c1"});
  m.node("Add", {"c1", "t"}, {"c2"});
  m.node("Mul", {"c2", "one"}, {"y"});
  check_pattern(m, "conv_affine", {"Conv"}, random_floats({2, 4, 9, 7}, 3));
  // Along the last axis, of higher rank, or read by another: left alone.
  for (const Shape& shape : {Shape{7}, Shape{1, 1, 1, 1, 1}}) {
    Maker other = conv("Conv", 1, true);
    other.weight("s", random_floats(shape, 1));
    other.node("Mul", {"c", "s"}, {"y"});
    check_pattern(other, "conv_affine", {"Conv", "Mul"}, random_floats({2, 4, 9, 7}, 3));
  }
  Maker read = conv("Conv", 1, true);
  read.output("c");
  check_pattern(batch_norm(read), "conv_affine", {"Conv", "BatchNormalization"},
                random_floats({2, 4, 9, 7}, 3));
}

TEST_CASE("conv_affine leaves factors that leave f32") {
  for (const float factor : {INFINITY, NAN, 1e38F}) {
    Maker m = conv("Conv", 1, true);
    m.graph.weights[m.value("w")].value = random_floats({6, 4, 3, 3}, 7, 100);
    m.weight("s", scalar(factor));
    m.node("Mul", {"c", "s"}, {"y"});
    check_pattern(m, "conv_affine", {"Conv", "Mul"}, random_floats({2, 4, 9, 7}, 3));
  }
}

TEST_CASE("conv_affine scales packed weights row by row and leaves them packed") {
  Maker m = conv("Conv", 2, true);
  const Tensor dense = m.graph.weights[m.value("w")].dense();
  const Fold fold{2, 3, 18, false};
  m.graph.weights[m.value("w")].value =
      pack_blocks(dense, fold, BlockMask({2, 4}, fold, true), false);
  batch_norm(m);
  m.output("y");
  const Model changed = after(m.model(), "conv_affine");
  CHECK(ops_of(changed.graph) == Ops{"Conv"});
  const Weight* weight = find_weight(changed.graph, changed.graph.nodes[0].inputs[1]);
  REQUIRE(weight != nullptr);
  REQUIRE(weight->is_sparse());
  validate(weight->sparse());
  CHECK(difference(m.model(), changed, {{"x", awkward({2, 4, 9, 7})}}) < kRounding);
}

TEST_CASE("matmul_bias, dense and packed") {
  for (const bool packed : {false, true}) {
    Maker m = with_x({2, 3, 16});
    const Tensor dense = random_floats({16, 32}, 1);
    m.weight("w", dense).weight("b", random_floats({32}, 2));
    const Fold fold{1, 32, 16, true};
    if (packed)
      m.graph.weights[m.value("w")].value =
          pack_blocks(dense, fold, BlockMask({16, 1}, fold, true), false);
    m.node("MatMul", {"x", "w"}, {"p"});
    m.node("Add", {"b", "p"}, {"y"});
    m.output("y");
    const Model changed = after(m.model(), "matmul_bias");
    CHECK(ops_of(changed.graph) == Ops{"espalier.fused.MatMul"});
    CHECK(find_weight(changed.graph, changed.graph.nodes[0].inputs[1])->is_sparse() == packed);
    CHECK(difference(m.model(), changed, {{"x", random_floats({2, 3, 16}, 4)}}) < kRounding);
  }
  Maker row = with_x({3, 16});  // [1, 1, 32] gives the result another rank
  row.weight("w", random_floats({16, 32}, 1)).weight("b", random_floats({1, 1, 32}, 2));
  row.node("MatMul", {"x", "w"}, {"p"});
  row.node("Add", {"p", "b"}, {"y"});
  check_pattern(row, "matmul_bias", {"MatMul", "Add"}, random_floats({3, 16}, 4));
}

TEST_CASE("activation puts functions of each element behind the product before them") {
  struct Function {
    const char* op;
    std::vector<std::pair<const char*, float>> attributes;
  };
  const std::vector<Function> functions{{"Relu", {}},
                                        {"Sigmoid", {}},
                                        {"Tanh", {}},
                                        {"LeakyRelu", {{"alpha", 0.3F}}},
                                        {"HardSigmoid", {{"alpha", 0.3F}, {"beta", 0.4F}}},
                                        {"HardSwish", {}},
                                        {"Swish", {}},
                                        {"Gelu", {}}};
  for (const Function& function : functions) {
    CAPTURE(function.op);
    Maker m = conv("Conv", 1, true);
    Node& node = m.node(function.op, {"c"}, {"a"});
    for (const auto& [name, value] : function.attributes) set_attribute(node, name, value);
    m.weight("s", scalar(2)).weight("t", floats({1}, {-1}));
    m.node("Mul", {"a", "s"}, {"a2"});
    m.node("Add", {"t", "a2"}, {"y"});
    check_pattern(m, "activation", {"espalier.fused.Conv"}, awkward({2, 4, 9, 7}));
  }
  Maker gemm = with_x({3, 5});
  gemm.weight("w", random_floats({5, 7}, 1)).weight("b", random_floats({7}, 2));
  gemm.weight("low", scalar(-0.5F)).weight("high", scalar(0.5F));
  gemm.node("Gemm", {"x", "w", "b"}, {"p"});
  gemm.node("Clip", {"p", "low", "high"}, {"y"});
  check_pattern(gemm, "activation", {"espalier.fused.Gemm"}, awkward({3, 5}));
  Maker matmul = with_x({3, 5});
  matmul.weight("w", random_floats({5, 7}, 1));
  set_attribute(matmul.node("MatMul", {"x", "w"}, {"p"}), "unknown", int64_t{1});
  set_attribute(matmul.node("Gelu", {"p"}, {"y"}), "approximate", std::string("tanh"));
  check_pattern(matmul, "activation", {"espalier.fused.MatMul"}, awkward({3, 5}));
  Maker twice = with_x({3, 5});  // the sum before the function is read too
  twice.weight("w", random_floats({5, 7}, 1));
  twice.node("MatMul", {"x", "w"}, {"p"});
  twice.node("Relu", {"p"}, {"r"});
  twice.node("Add", {"p", "r"}, {"y"});
  check_pattern(twice, "activation", {"MatMul", "Relu", "Add"}, random_floats({3, 5}, 3));
}

namespace {

struct AttentionCase {
  Shape mask;  // none: no mask
  bool keys_twice = false, scale_queries = false, one_query = false;
  int64_t key_heads = 3;
};

// Q, K, V [2, 5, 3, 4] as inputs; V has 6 features.
Maker attention(const AttentionCase& one) {
  Maker m;
  m.input("q", DType::kF32, Shape{2, one.one_query ? 1 : 5, 3, 4});
  m.input("k", DType::kF32, Shape{2, 7, one.key_heads, 4})
      .input("v", DType::kF32, Shape{2, 7, 3, 6});
  m.weight("root", scalar(2)).weight("half", scalar(0.5F));
  using Order = std::vector<int64_t>;
  const auto transpose = [&](const char* from, const char* to, Order order) {
    set_attribute(m.node("Transpose", {from}, {to}), "perm", std::move(order));
  };
  transpose("q", "q1", {0, 2, 1, 3});
  if (one.keys_twice) {
    transpose("k", "k0", {0, 2, 1, 3});
    transpose("k0", "k1", {0, 1, 3, 2});
  } else {
    transpose("k", "k1", {0, 2, 3, 1});
  }
  transpose("v", "v1", {0, 2, 1, 3});
  if (one.scale_queries) {
    m.node("Mul", {"half", "q1"}, {"q2"});
    m.node("MatMul", {"q2", "k1"}, {"s1"});
  } else {
    m.node("MatMul", {"q1", "k1"}, {"s"});
    m.node("Div", {"s", "root"}, {"s1"});
  }
  if (!one.mask.empty()) {
    m.input("mask", DType::kF32, one.mask);
    m.node("Add", {"mask", "s1"}, {"s2"});
  }
  set_attribute(m.node("Softmax", {one.mask.empty() ? "s1" : "s2"}, {"p"}), "axis", int64_t{-1});
  m.node("MatMul", {"p", "v1"}, {"o"});
  transpose("o", "y", {0, 2, 1, 3});
  return m;
}

}  // namespace

TEST_CASE("attention, with masks of every shape, scales and orders of exporters") {
  const Ops fused{"espalier.fused.Attention"};
  for (const AttentionCase& one : std::vector<AttentionCase>{{},
                                                             {.mask = {2, 1, 1, 7}},
                                                             {.mask = {5, 7}},
                                                             {.mask = {2, 3, 5, 7}},
                                                             {.mask = {1}},
                                                             {.mask = {2, 1, 5, 1}},
                                                             {.mask = {}, .keys_twice = true},
                                                             {.mask = {7}, .scale_queries = true},
                                                             {.mask = {4, 7}, .one_query = true},
                                                             {.mask = {}, .key_heads = 1}}) {
    CAPTURE(one.mask.size());
    Maker m = attention(one);
    m.output("y");
    const Model changed = after(m.model(), "attention");
    CHECK(ops_of(changed.graph) == fused);
    Feed feed{{"q", random_floats({2, one.one_query ? 1 : 5, 3, 4}, 1)},
              {"k", random_floats({2, 7, one.key_heads, 4}, 2)},
              {"v", random_floats({2, 7, 3, 6}, 3)}};
    if (!one.mask.empty()) feed["mask"] = random_floats(one.mask, 4);
    CHECK(difference(m.model(), changed, feed) < kRounding);
    for (const size_t threads : {2, 3}) {
      const Feed a = Executor(changed, {.threads = threads}).run(feed);
      const Feed b = Executor(changed, {.threads = 1}).run(feed);
      CHECK(same_bits(a.at("y"), b.at("y")));
    }
  }
}

TEST_CASE("attention leaves scores that others see, other axes and masks of unknown rank") {
  Maker seen = attention({});
  seen.output("y").output("p");
  CHECK(ops_of(after(seen.model(), "attention").graph).size() == 8);
  Maker axis = attention({});
  for (Node& node : axis.graph.nodes) {
    if (node.op == "Softmax") set_attribute(node, "axis", int64_t{2});
  }
  axis.output("y");
  CHECK(ops_of(after(axis.model(), "attention").graph).size() == 8);
  Maker mask = attention({.mask = {7}});
  mask.graph.values[mask.value("mask")].shape.reset();
  mask.output("y");
  CHECK(ops_of(after(mask.model(), "attention").graph).size() == 9);
}

TEST_CASE("long chains take neither time nor memory out of proportion") {
  // Each scaling makes another weight of 4 MB: one is left, not one for each.
  Maker m = with_x({1, 64, 4, 4});
  m.weight("w", random_floats({64, 64, 16, 16}, 1, 0.01F)).weight("s", scalar(1.001F));
  set_attribute(m.node("Conv", {"x", "w"}, {"v0"}), "pads", std::vector<int64_t>(4, 8));
  constexpr size_t kScalings = 30, kFunctions = 20000;
  for (size_t i = 0; i < kScalings + kFunctions; ++i) {
    const ValueId from = m.graph.nodes.back().outputs[0];
    const ValueId to = add_value(m.graph, "v" + std::to_string(i + 1));
    Node node;
    node.op = i < kScalings || i % 2 == 0 ? "Mul" : "Relu";
    node.inputs = {from};
    if (node.op == "Mul") node.inputs.push_back(m.value("s"));
    node.outputs = {to};
    m.graph.nodes.push_back(std::move(node));
  }
  m.graph.outputs.push_back(m.graph.nodes.back().outputs[0]);
  const Model changed = after(m.model(), "conv_affine");
  size_t bytes = 0;
  for (const auto& entry : changed.graph.weights) bytes += entry.second.dense().bytes().size();
  CHECK(bytes < 3 * m.graph.weights.at(m.value("w")).dense().bytes().size());
  for (const Pass* pass : passes()) after(m.model(), pass->name);
}

TEST_CASE("new constants get names that no graph of the model uses") {
  Maker m = conv("Conv", 1, true);
  m.weight("w_1", floats({1}, {1})).weight("w.bias", floats({1}, {1}));
  batch_norm(m);
  m.output("y").output("w_1").output("w.bias");
  const Model changed = after(m.model(), "conv_affine");
  std::vector<std::string> names;
  for (const Value& value : changed.graph.values) names.push_back(value.name);
  std::ranges::sort(names);
  CHECK(std::ranges::adjacent_find(names) == names.end());
}

}  // namespace espalier
