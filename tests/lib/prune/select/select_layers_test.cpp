#include <doctest/doctest.h>

#include "tests/lib/prune/prune_models.h"

using namespace espalier;
using namespace espalier::test;

namespace {

SelectOptions any_size() {
  SelectOptions options;
  options.min_weights = 1;
  return options;
}

std::string reason(const Model& model, const std::string& weight, const SelectOptions& options) {
  return find_layer(select_layers(model, options), weight).left_out;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("weights are found with node, fold and squareness, in graph order") {
  const std::vector<Layer> layers = select_layers(mixed_model(), {});
  REQUIRE(layers.size() == 4);
  CHECK(layers[0].weight == "mm.w");
  CHECK(layers[0].node == "mm");
  CHECK(layers[0].fold == Fold{1, 70, 40, true});
  CHECK(layers[1].fold == Fold{1, 33, 70, false});
  CHECK(layers[2].weight == "gru.W");
  CHECK(layers[2].fold == Fold{3, 24, 33, false});
  CHECK_FALSE(layers[2].square);
  CHECK(layers[3].input == 2);
  CHECK(layers[3].square);
  for (const Layer& layer : layers) CHECK(layer.left_out == "");
}

TEST_CASE("each option leaves out with its reason") {
  const Model model = mixed_model();
  SelectOptions options;
  options.min_weights = 2000;
  CHECK(has(reason(model, "gru.R", options), "too small: 1728 weights"));
  CHECK(reason(model, "gemm.w", options) == "");
  options = {};
  options.operators = {"MatMul", "GRU"};
  CHECK(has(reason(model, "gemm.w", options), "operator Gemm is not selected"));
  CHECK(reason(model, "gru.W", options) == "");
  options = {};
  options.exclude = {"nothing", "^gru"};
  CHECK(has(reason(model, "gru.W", options), "excluded by pattern \"^gru\""));
  CHECK(reason(model, "mm.w", options) == "");
  options = {};
  options.keep_first_last = true;
  CHECK(reason(model, "mm.w", options) == "the first layer");
  CHECK(reason(model, "gemm.w", options) == "");
  CHECK(reason(model, "gru.W", options) == "the last layer");
  CHECK(reason(model, "gru.R", options) == "the last layer");
}

TEST_CASE("a bad pattern is a usage error that names it") {
  SelectOptions options;
  options.exclude = {"(["};
  const std::string text =
      fault_text(Fault::kUsage, [&] { select_layers(mixed_model(), options); });
  CHECK(has(text, "pattern \"([\""));
}

TEST_CASE("fixed transforms, depthwise convolutions and other types are left out") {
  ModelBuilder b;
  ValueId x = b.input("x");
  x = b.node("Conv", "stft",
             {x, b.weight("stft.forward_basis_buffer", random_tensor({64, 1, 32}, 1))});
  x = b.node("Conv", "dw", {x, b.weight("dw.w", random_tensor({64, 1, 32}, 2))},
             {{"group", int64_t{64}, {}}});
  x = b.node("Conv", "grouped", {x, b.weight("g.w", random_tensor({64, 16, 3}, 2))},
             {{"group", int64_t{4}, {}}});
  x = b.matmul("wide", x, random_tensor({64, 64}, 3, DType::kF64));
  x = b.node("MatMul", "mel/MatMul", {x, b.weight("onnx::MatMul_7", random_tensor({64, 64}, 4))});
  b.model.graph.outputs = {b.matmul("half", x, random_tensor({64, 64}, 5, DType::kF16))};
  CHECK(
      has(reason(b.model, "stft.forward_basis_buffer", {}), "fixed transform by its name (stft)"));
  CHECK(has(reason(b.model, "onnx::MatMul_7", {}), "fixed transform by its name (mel)"));
  CHECK(reason(b.model, "dw.w", {}) == "a depthwise convolution");
  CHECK(reason(b.model, "g.w", {}) == "");
  CHECK(reason(b.model, "wide.w", {}) == "type f64 is not pruned");
  CHECK(reason(b.model, "half.w", {}) == "");
  SelectOptions options;
  options.force = {"^stft\\."};
  options.depthwise = true;
  CHECK(reason(b.model, "stft.forward_basis_buffer", options) == "");
  CHECK(reason(b.model, "dw.w", options) == "");
  // The first layer is the first one that is learned.
  options = {};
  options.keep_first_last = true;
  CHECK(has(reason(b.model, "stft.forward_basis_buffer", options), "fixed"));
  CHECK(reason(b.model, "half.w", options) == "the last layer");
}

TEST_CASE(
    "a weight that several inputs read is one layer only if all multiply by the same matrix") {
  ModelBuilder b;
  ValueId x = b.input("x");
  const ValueId shared = b.weight("shared", random_tensor({32, 32}, 1));
  const ValueId both = b.weight("both", random_tensor({32, 32}, 2));
  const ValueId added = b.weight("added", random_tensor({32, 32}, 3));
  const ValueId given = b.weight("given", random_tensor({32, 32}, 4));
  x = b.node("MatMul", "a", {x, shared});
  x = b.node("MatMul", "b", {x, b.node("Identity", "same", {shared})});
  x = b.node("MatMul", "c", {x, both});
  x = b.node("Gemm", "d", {x, both}, {{"transB", int64_t{1}, {}}});
  x = b.node("MatMul", "e", {x, added});
  x = b.node("Add", "f", {x, added});
  x = b.node("MatMul", "g", {x, given});
  b.model.graph.outputs = {x, given};
  const std::vector<Layer> layers = select_layers(b.model, any_size());
  CHECK(layers.size() == 4);
  CHECK(find_layer(layers, "shared").node == "a");
  CHECK(find_layer(layers, "shared").left_out == "");
  CHECK(has(find_layer(layers, "both").left_out, "is read by Gemm (d) as another matrix"));
  CHECK(has(find_layer(layers, "added").left_out, "is also read by Add (f)"));
  CHECK(has(find_layer(layers, "given").left_out, "is also an output of the graph"));
}

TEST_CASE("tables of Gather and weights made at run time are shown with their reason") {
  ModelBuilder b;
  ValueId x = b.input("x");
  x = b.node("Gather", "embed", {b.weight("table", random_tensor({100, 32}, 1)), x});
  const ValueId raw = b.weight("raw", random_tensor({96, 32}, 2));
  const ValueId made = b.node("Unsqueeze", "un", {b.node("Concat", "cat", {raw})});
  const ValueId r = b.weight("r", random_tensor({1, 96, 32}, 3));
  x = b.node("GRU", "gru", {x, made, r});
  const ValueId other = b.node("Transpose", "t", {b.input("y")});
  b.model.graph.outputs = {b.node("MatMul", "scores", {x, other})};
  const std::vector<Layer> layers = select_layers(b.model, {});
  CHECK(layers.size() == 3);  // the product of two activations is no weight
  CHECK(has(find_layer(layers, "table").left_out, "Gather"));
  CHECK(find_layer(layers, "raw").left_out ==
        "computed at run time: reaches GRU through Concat, Unsqueeze");
  CHECK(find_layer(layers, "raw").shape == Shape{96, 32});
  CHECK(find_layer(layers, "r").left_out == "");
}

TEST_CASE("subgraphs: own weights have a prefix, outer ones count the inner reader") {
  ModelBuilder b;
  const ValueId x = b.input("x");
  const ValueId outer = b.weight("outer", random_tensor({32, 32}, 1));
  const ValueId tied = b.weight("tied", random_tensor({32, 32}, 2));
  b.node("MatMul", "m", {x, tied});
  ModelBuilder inner;
  const ValueId ix = inner.value("x");
  const ValueId a = inner.node("MatMul", "i1", {ix, inner.value("outer")});
  const ValueId c = inner.node("Mul", "i2", {a, inner.value("tied")});
  inner.model.graph.outputs = {inner.matmul("i3", c, random_tensor({32, 32}, 3))};
  const auto branch = std::make_shared<const Graph>(inner.model.graph);
  b.model.graph.outputs = {b.node("If", "if", {b.input("flag")}, {{"then_branch", branch, {}}})};
  (void)outer;
  const std::vector<Layer> layers = select_layers(b.model, any_size());
  CHECK(layers.size() == 3);
  CHECK(find_layer(layers, "outer").prefix == "");
  CHECK(find_layer(layers, "outer").node == "if/then_branch/i1");
  CHECK(has(find_layer(layers, "tied").left_out, "is also read by Mul (if/then_branch/i2)"));
  const Layer& own = find_layer(layers, "if/then_branch/i3.w");
  CHECK(own.left_out == "");

  // Replacing it changes the subgraph of the copy alone.
  const Model changed = with_weights(b.model, {own}, {Tensor::zeros(DType::kF32, {32, 32})});
  CHECK(same_bits(weight_of(changed, own).dense(), Tensor::zeros(DType::kF32, {32, 32})));
  CHECK_FALSE(same_bits(weight_of(b.model, own).dense(), weight_of(changed, own).dense()));
}

TEST_CASE("weights of two subgraphs of one name are left alone") {
  ModelBuilder inner;
  inner.model.graph.outputs = {inner.matmul("m", inner.input("a"), random_tensor({32, 32}, 3))};
  const auto branch = std::make_shared<const Graph>(inner.model.graph);
  ModelBuilder b;
  b.node("If", "if", {b.input("f")}, {{"then_branch", branch, {}}});
  b.node("If", "if", {b.input("g")}, {{"then_branch", branch, {}}});
  for (const Layer& layer : select_layers(b.model, any_size())) CHECK(layer.left_out != "");
}
