#include "formats/nnef/write/graph.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "formats/nnef/decode_fragments.h"
#include "formats/nnef/language/document.h"
#include "lib/base/error.h"
#include "lib/sparse/pack.h"

namespace espalier::nnef {
namespace {

Tensor ramp(Shape shape) {
  Tensor result = Tensor::zeros(DType::kF32, std::move(shape));
  float value = 0;
  for (float& one : result.mutable_data<float>()) one = ++value;
  return result;
}

// A model under construction: values by name.
struct Builder {
  Model model;

  Builder() { model.origin.opset = 17; }
  Graph& graph() { return model.graph; }

  ValueId value(const std::string& name) {
    if (name.empty()) return kNoValue;
    for (ValueId id = 0; id < graph().values.size(); ++id) {
      if (graph().values[id].name == name) return id;
    }
    return add_value(graph(), name);
  }
  Builder& input(const std::string& name, Shape shape, std::vector<std::string> names = {}) {
    Value& it = graph().values[value(name)];
    it.dtype = DType::kF32;
    it.shape = std::move(shape);
    it.dimension_names = std::move(names);
    graph().inputs.push_back(value(name));
    return *this;
  }
  Builder& output(const std::string& name) {
    graph().outputs.push_back(value(name));
    return *this;
  }
  Builder& weight(const std::string& name, std::variant<Tensor, SparseMatrix> tensor) {
    graph().weights[value(name)] = {std::move(tensor), ""};
    return *this;
  }
  Node& node(std::string op, const std::vector<std::string>& inputs,
             const std::vector<std::string>& outputs) {
    Node node;
    node.op = std::move(op);
    for (const std::string& name : inputs) node.inputs.push_back(value(name));
    for (const std::string& name : outputs) node.outputs.push_back(value(name));
    graph().nodes.push_back(std::move(node));
    return graph().nodes.back();
  }
};

std::string body(const Spelled& spelled) {
  const size_t begin = spelled.graph.find("graph network");
  REQUIRE(begin != std::string::npos);
  return spelled.graph.substr(begin);
}

std::vector<std::string> labels(const Spelled& spelled) {
  std::vector<std::string> result;
  for (const Variable& variable : spelled.variables) result.push_back(variable.label);
  return result;
}

std::string error_of(const Model& model, const WriteOptions& options = {}) {
  try {
    static_cast<void>(spell(model, options));
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

// y = x w^T + b with a weight [outputs, inputs].
Builder linear(std::variant<Tensor, SparseMatrix> weight, Shape input) {
  Builder b;
  b.input("x", std::move(input), {"N", ""}).output("y").weight("fc.w", std::move(weight));
  set_attribute(b.node("Gemm", {"x", "fc.w"}, {"y"}), "transB", int64_t{1});
  return b;
}

// Every second block of a weight, packed.
SparseMatrix packed(Shape shape, const Fold& fold, BlockShape block, bool diagonal = false) {
  BlockMask mask(block, fold, false);
  for (size_t i = 0; i < mask.kept.size(); i += 2) mask.kept[i] = true;
  return pack_blocks(ramp(std::move(shape)), fold, mask, diagonal);
}

TEST_CASE("a dense model is plain NNEF but for its free dimension") {
  Builder b = linear(ramp({3, 4}), {-1, 4});
  b.weight("bias", ramp({3}));
  b.graph().nodes[0].inputs.push_back(b.value("bias"));
  const Spelled spelled = spell(b.model, {});
  CHECK(spelled.graph == R"(version 1.0;

extension tract_registry tract_core;
extension tract_symbol N;

graph network( x ) -> ( y )
{
    x = external<scalar>(shape = [N, 4]);
    fc_w = variable<scalar>(shape = [3, 4], label = 'fc.w');
    bias = variable<scalar>(shape = [3], label = 'bias');
    bias_unsqueezed = unsqueeze(bias, axes = [0]);
    y = linear(x, fc_w, bias_unsqueezed);
}
)");
  CHECK(labels(spelled) == std::vector<std::string>{"fc.w", "bias"});
  CHECK(same_bits(spelled.variables[0].make(), ramp({3, 4})));

  WriteOptions bound;
  bound.shapes["x"] = {2, 4};
  const Spelled plain = spell(b.model, bound);
  CHECK(plain.graph.starts_with("version 1.0;\n\ngraph network( x )"));  // no extension at all
  CHECK(plain.graph.find("shape = [2, 4]);") != std::string::npos);
}

TEST_CASE("a packed weight is values, index and a decode that stands in the file") {
  const Builder b = linear(packed({4, 6}, {1, 4, 6, false}, {2, 3}), {1, 6});
  const Spelled spelled = spell(b.model, {});
  CHECK(body(spelled) == R"(graph network( x ) -> ( y )
{
    x = external<scalar>(shape = [1, 6]);
    fc_w_values = variable<scalar>(shape = [2, 2, 3], label = 'fc.w/values');
    fc_w_index = variable<integer>(shape = [2, 2], label = 'fc.w/index');
    fc_w_decoded = block_sparse_decode(fc_w_values, fc_w_index, grid = [2, 2, 2, 3], shape = [4, 6]);
    y = matmul(x, fc_w_decoded, transposeB = true);
}
)");
  CHECK(spelled.graph.find("fragment block_sparse_decode(") != std::string::npos);
  CHECK(spelled.graph.find("fragment block_sparse_decode_ragged(") == std::string::npos);
  REQUIRE(labels(spelled) == std::vector<std::string>{"fc.w/values", "fc.w/index"});
  const Tensor index = spelled.variables[1].make();
  CHECK(index.dtype() == DType::kU16);
  CHECK(to_i64(index) == std::vector<int64_t>{0, 0, 1, 0});
  for (const std::string_view trap : {"{{", "{%", "{#"}) {
    CHECK(spelled.graph.find(trap) == std::string::npos);
  }
}

TEST_CASE("the dense profile stores zeros") {
  const SparseMatrix matrix = packed({4, 6}, {1, 4, 6, false}, {2, 3});
  const Builder b = linear(matrix, {1, 6});
  WriteOptions options;
  options.profile = "dense";
  const Spelled spelled = spell(b.model, options);
  CHECK(spelled.graph.find("fragment") == std::string::npos);
  REQUIRE(labels(spelled) == std::vector<std::string>{"fc.w"});
  CHECK(same_bits(spelled.variables[0].make(), decode(matrix)));
}

TEST_CASE("ragged edges, several parts and diagonals have decodes of their own") {
  SUBCASE("one ragged matrix") {
    const Builder b = linear(packed({5, 7}, {1, 5, 7, false}, {2, 3}), {1, 7});
    CHECK(body(spell(b.model, {}))
              .find("block_sparse_decode_ragged(fc_w_values, fc_w_index, grid = [3, 3, 2, 3], "
                    "padded = [6, 9], shape = [5, 7])") != std::string::npos);
  }
  SUBCASE("a ragged filter in two groups") {
    Builder b;
    b.input("x", {1, 4, 9}).output("y");
    b.weight("w", packed({6, 2, 3}, {2, 3, 6, false}, {2, 4}));
    set_attribute(b.node("Conv", {"x", "w"}, {"y"}), "group", int64_t{2});
    CHECK(body(spell(b.model, {}))
              .find("block_sparse_decode_parts(w_values, w_index, grid = [4, 2, 2, 4], padded = "
                    "[2, 4, 8], keep = [3, 6], shape = [6, 2, 3])") != std::string::npos);
  }
  SUBCASE("a diagonal kept apart") {
    const Builder b = linear(packed({4, 4}, {1, 4, 4, false}, {2, 2}, true), {1, 4});
    const Spelled spelled = spell(b.model, {});
    CHECK(body(spelled).find("stacked_diagonal(fc_w_diag, column = [1, 4, 1], padding = [(0, 0), "
                             "(0, 0), (0, 4)], flat = [1, 20], keep = [16], shape = [4, 4])") !=
          std::string::npos);
    CHECK(body(spelled).find("fc_w_whole = add(fc_w_decoded, fc_w_diagonal);") !=
          std::string::npos);
    CHECK(labels(spelled) == std::vector<std::string>{"fc.w/values", "fc.w/index", "fc.w/diag"});
  }
}

TEST_CASE("the index may be that of first elements, but for ragged weights") {
  WriteOptions options;
  options.index = "first-element";
  const Builder even = linear(packed({4, 6}, {1, 4, 6, false}, {2, 3}), {1, 6});
  const Spelled spelled = spell(even.model, options);
  CHECK(body(spelled).find("block_sparse_decode_first(fc_w_values, fc_w_index, fc_w_offsets, count "
                           "= [12], places = [12, 1], size = [24], shape = [4, 6])") !=
        std::string::npos);
  REQUIRE(labels(spelled) == std::vector<std::string>{"fc.w/values", "fc.w/index", "fc.w/offsets"});
  CHECK(to_i64(spelled.variables[1].make()) == std::vector<int64_t>{0, 12});
  CHECK(to_i64(spelled.variables[2].make()) == std::vector<int64_t>{0, 1, 2, 6, 7, 8});

  const Builder uneven = linear(packed({5, 7}, {1, 5, 7, false}, {2, 3}), {1, 7});
  CHECK(body(spell(uneven.model, options)).find("block_sparse_decode_ragged(") !=
        std::string::npos);
}

TEST_CASE("a weight that ONNX keeps as [inputs, outputs] is decoded the other way round") {
  Builder b;
  b.input("x", {1, 2, 6}).output("y").weight("w", packed({6, 4}, {1, 4, 6, true}, {2, 3}));
  b.node("MatMul", {"x", "w"}, {"y"});
  CHECK(body(spell(b.model, {})) == R"(graph network( x ) -> ( y )
{
    x = external<scalar>(shape = [1, 2, 6]);
    w_values = variable<scalar>(shape = [2, 2, 3], label = 'w/values');
    w_index = variable<integer>(shape = [2, 2], label = 'w/index');
    w_decoded = block_sparse_decode(w_values, w_index, grid = [2, 2, 2, 3], shape = [4, 6]);
    w_decoded_unsqueezed = unsqueeze(w_decoded, axes = [0]);
    y = matmul(x, w_decoded_unsqueezed, transposeB = true);
}
)");
  b.output("w");  // who else reads it gets its own shape
  CHECK(body(spell(b.model, {})).find("transpose(w_decoded, axes = [1, 0])") != std::string::npos);
}

TEST_CASE("values that NNEF has no type for are refused by name") {
  const SparseMatrix matrix = with_values(packed({4, 6}, {1, 4, 6, false}, {2, 3}), DType::kBF16);
  const std::string text = error_of(linear(matrix, {1, 6}).model);
  CHECK(text.find("weight 'fc.w': bf16") != std::string::npos);
  CHECK(text.find("f16 or f32") != std::string::npos);
  WriteOptions dense;
  dense.profile = "dense";
  CHECK(error_of(linear(matrix, {1, 6}).model, dense).empty());  // decoded they are f32
}

TEST_CASE("a weight of type f16 is cast back after its decode") {
  const Tensor half = from_f32(ramp({4, 6}).data<float>(), DType::kF16, {4, 6});
  const SparseMatrix matrix =
      pack_blocks(half, {1, 4, 6, false}, BlockMask({2, 3}, {1, 4, 6, false}, true), false);
  Builder b = linear(matrix, {1, 6});
  b.graph().values[b.value("x")].dtype = DType::kF16;
  const std::string text = body(spell(b.model, {}));
  CHECK(text.find("tract_core_cast(fc_w_decoded, to = 'f16')") != std::string::npos);
  CHECK(text.find("tract_core_external(shape = [1, 6], datum_type = 'f16')") != std::string::npos);
}

TEST_CASE("a recurrent operator keeps its weights' names and shapes") {
  Builder b;
  b.input("x", {-1, -1, 3}, {"T", "N", ""}).output("y_h");
  b.weight("W", ramp({1, 6, 3})).weight("R", ramp({1, 6, 2})).weight("B", ramp({1, 12}));
  set_attribute(b.node("GRU", {"x", "W", "R", "B"}, {"", "y_h"}), "linear_before_reset",
                int64_t{1});
  CHECK(body(spell(b.model, {})) == R"(graph network( x ) -> ( y_h )
{
    x = external<scalar>(shape = [T, N, 3]);
    W = variable<scalar>(shape = [1, 6, 3], label = 'W');
    R = variable<scalar>(shape = [1, 6, 2], label = 'R');
    B = variable<scalar>(shape = [1, 12], label = 'B');
    y_h_zero = tract_core_broadcast(0.0, shape = [1, N, 2]);
    x_transposed = transpose(x, axes = [1, 0, 2]);
    W_squeezed = squeeze(W, axes = [0]);
    R_squeezed = squeeze(R, axes = [0]);
    ( y_h_batch, y_h_final ) = tract_core_gru_seq(x = x_transposed, w = W_squeezed, r = R_squeezed, b = B, initial_h = y_h_zero, hidden = 2, chunk = 1, has_bias = 1, reset_every_turn = 0, emit_y = 1, projected = 0);
    y_h_final_transposed = transpose(y_h_final, axes = [1, 0, 2]);
    y_h = copy(y_h_final_transposed);
}
)");
}

TEST_CASE("the same model gives the same text") {
  const Builder b = linear(packed({4, 6}, {1, 4, 6, false}, {2, 3}), {-1, 6});
  CHECK(spell(b.model, {}).graph == spell(b.model, {}).graph);
}

TEST_CASE("inputs and outputs keep their order and names, whatever else is called like them") {
  Builder b;
  b.input("b", {2, 3}).input("a", {-1, 3}, {"y", ""}).output("y").output("a");
  b.weight("b_1", ramp({3}));
  b.node("Add", {"b", "b_1"}, {"y"});
  const std::string text = body(spell(b.model, {}));
  CHECK(text.starts_with("graph network( b, a ) -> ( y, a )"));
  CHECK(text.find("a = external<scalar>(shape = [y_1, 3]);") != std::string::npos);
}

TEST_CASE("what cannot be spelled is refused with operator and node") {
  Builder b;
  b.input("x", {2, 2}).output("y");
  b.node("Det", {"x"}, {"y"}).name = "det\n7";
  CHECK(error_of(b.model) == "Det of node 'det\\x0a7': NNEF has no counterpart of this operator");
  b.graph().nodes[0].domain = "com.acme";
  b.graph().nodes[0].op = "Relu";
  CHECK(error_of(b.model).starts_with("com.acme.Relu of node"));
}

TEST_CASE("options that mean nothing are refused") {
  const Builder b = linear(ramp({3, 4}), {-1, 4});
  WriteOptions options;
  options.profile = "clear";
  CHECK(error_of(b.model, options) ==
        "profile 'clear': expected one of tract, portable, operator, opaque, dense");
  options = {};
  options.index = "last";
  CHECK(error_of(b.model, options) ==
        "index 'last': expected one of grid, first-element, bitmap, mask");
  options = {};
  options.shapes["z"] = {1};
  CHECK(error_of(b.model, options).find("'z', which is not an input") != std::string::npos);
  options.shapes = {{"x", {1, 5}}};
  CHECK(error_of(b.model, options).find("does not match input 'x'") != std::string::npos);
}

TEST_CASE("a bound dimension is bound for every input that shares its name") {
  Builder b;
  b.input("x", {-1, 4}, {"N", ""}).input("z", {-1, 4}, {"N", ""}).output("y");
  b.node("Add", {"x", "z"}, {"y"});
  WriteOptions options;
  options.shapes["x"] = {3, 4};
  CHECK(body(spell(b.model, options)).find("z = external<scalar>(shape = [3, 4]);") !=
        std::string::npos);
  options.shapes["z"] = {2, 4};
  CHECK(error_of(b.model, options) == "dimension 'N' is bound to 3 and to 2");
  options.shapes = {{"x", {-1, 4}}};
  CHECK(body(spell(b.model, options)).find("x = external<scalar>(shape = [N, 4]);") !=
        std::string::npos);
}

TEST_CASE("operators inside operators are announced") {
  Builder b;
  b.input("x", {1, 4}).output("y").weight("w", ramp({4, 3})).weight("bias", ramp({3}));
  b.node("Gemm", {"x", "w", "bias"}, {"y"});
  const std::string text = spell(b.model, {}).graph;
  CHECK(text.find("y = add(matmul(x, w), bias_unsqueezed);") != std::string::npos);
  CHECK(text.starts_with("version 1.0;\n\nextension KHR_enable_operator_expressions;\n\ngraph"));
}

TEST_CASE("an input without a shape asks for one") {
  Builder b = linear(ramp({3, 4}), {-1, 4});
  b.graph().values[b.value("x")].shape.reset();
  CHECK(error_of(b.model).find("--input-shape x=") != std::string::npos);
  WriteOptions options;
  options.shapes["x"] = {1, 4};
  CHECK(error_of(b.model, options).empty());
}

TEST_CASE("an operator that the NNEF reader kept is written as it was") {
  Builder b;
  b.input("x", {2, 2}).output("y");
  b.model.origin.format = "nnef";
  b.model.origin.extra =
      "extension tract_registry tract_core;\nextension acme_rules on;\n"
      "fragment acme_twice( x: tensor<scalar> ) -> ( y: tensor<scalar> )\n{\n    y = add(x, "
      "x);\n}\n";
  Node& kept = b.node("acme_twice", {"x"}, {"y"});
  kept.domain = "nnef";
  kept.extra = "acme_twice($0, mode = '$0')";
  const Spelled spelled = spell(b.model, {});
  CHECK(body(spelled).find("y = acme_twice(x, mode = '$0');") != std::string::npos);
  CHECK(spelled.graph.find("extension acme_rules on;") != std::string::npos);
  CHECK(spelled.graph.find("fragment acme_twice(") != std::string::npos);
  CHECK_NOTHROW(parse_document(spelled.graph));
}

TEST_CASE("a fragment of the model that is called like espalier's must mean the same") {
  Builder b = linear(packed({4, 6}, {1, 4, 6, false}, {2, 3}), {1, 6});
  b.model.origin.format = "nnef";
  b.model.origin.extra =
      "fragment block_sparse_decode( x: tensor<scalar> ) -> ( y: tensor<scalar> )\n{\n    y = "
      "neg(x);\n}\n";
  CHECK(error_of(b.model).find("'block_sparse_decode' of the model differs from espalier's") !=
        std::string::npos);
  b.model.origin.extra = std::string(decode_fragment(Decode::grid).text);
  CHECK(error_of(b.model).empty());
}

TEST_CASE("only what an output needs is written") {
  Builder b;
  b.input("x", {2, 2}).input("unused", {7}).output("y");
  b.weight("w", ramp({2})).weight("other", ramp({2}));
  b.node("Add", {"x", "other"}, {"nobody"});
  b.node("Mul", {"x", "w"}, {"y"});
  const Spelled spelled = spell(b.model, {});
  CHECK(labels(spelled) == std::vector<std::string>{"w"});
  CHECK(spelled.graph.find("nobody") == std::string::npos);
  CHECK(spelled.graph.find("unused = external") != std::string::npos);  // the signature stays
}

TEST_CASE("the weight's name cannot lead out of the folder") {
  Builder b;
  b.input("x", {2, 2}).output("y").weight("../../evil", ramp({2}));
  b.node("Mul", {"x", "../../evil"}, {"y"});
  CHECK(labels(spell(b.model, {})) == std::vector<std::string>{"evil"});
}

}  // namespace
}  // namespace espalier::nnef
