// Profiles operator and region: what is written, and that it comes back as it was.
#include <onnx/checker.h>

#include <random>

#include "formats/onnx/operator_function.h"
#include "formats/onnx/packed_call.h"
#include "lib/ops/operator.h"
#include "lib/sparse/pack.h"
#include "tests/formats/onnx/onnx_cases.h"

namespace espalier {
namespace {

struct Case {
  std::string function;  // that is called
  std::string net;       // signature and nodes; weights w and r are filled in
  std::vector<std::pair<std::string, Shape>> weights;
  BlockShape block{16, 1};
  bool diagonal = false;
  DType values = DType::kF32, weight = DType::kF32;
};

const std::vector<Case> kCases{
    {"BlockSparseMatMul",
     "(float[2, 12] x) => (float[2, 32] y) { y = MatMul(x, w) }",
     {{"w", {12, 32}}}},
    {"BlockSparseMatMul",
     "(float[3, 2, 13] x) => (float[3, 2, 30] y) { y = MatMul(x, w) }",
     {{"w", {3, 13, 30}}},
     {8, 5}},
    {"BlockSparseMatMulLeft",
     "(float[12, 2] x) => (float[32, 2] y) { y = MatMul(w, x) }",
     {{"w", {32, 12}}}},
    {"BlockSparseGemm",
     "(float[2, 12] x, float[30] b) => (float[2, 30] y) { y = Gemm <transB = 1, alpha = 0.5> (x, "
     "w, b) }",
     {{"w", {30, 12}}}},
    {"BlockSparseGemm",
     "(float[2, 12] x) => (float[2, 32] y) { y = Gemm(x, w) }",
     {{"w", {12, 32}}},
     {16, 1},
     false,
     DType::kI8},
    {"BlockSparseGemm",
     "(float16[2, 12] x) => (float16[2, 32] y) { y = Gemm(x, w) }",
     {{"w", {12, 32}}},
     {16, 1},
     false,
     DType::kF16,
     DType::kF16},
    {"BlockSparseConv",
     "(float[1, 8, 9] x) => (float[1, 32, M] y) { y = Conv <group = 2, pads = [1, 0]> (x, w) }",
     {{"w", {32, 4, 3}}}},
    {"BlockSparseConv",
     "(float[1, 4, 9, 9] x) => (float[1, 32, M, N] y) { y = Conv <auto_pad = \"SAME_LOWER\"> (x, "
     "w) }",
     {{"w", {32, 4, 3, 3}}}},
    {"BlockSparseGRU",
     "(float[5, 1, 12] x, float[1, 1, 16] h) => (float[1, 1, 16] y) { _, y = GRU <hidden_size = "
     "16> (x, w, r, , , h) }",
     {{"w", {1, 48, 12}}, {"r", {1, 48, 16}}},
     {16, 1},
     true},
    {"BlockSparseGRUInput",
     "(float[5, 1, 12] x, float[1, 48, 16] r) => (float[5, 1, 1, 16] y) { y = GRU <hidden_size = "
     "16> (x, w, r) }",
     {{"w", {1, 48, 12}}}},
    {"BlockSparseLSTM",
     "(float[5, 1, 12] x) => (float[5, 2, 1, 16] y, float[2, 1, 16] c) { y, _, c = LSTM "
     "<hidden_size = 16, direction = \"bidirectional\"> (x, w, r) }",
     {{"w", {2, 64, 12}}, {"r", {2, 64, 16}}}},
    {"BlockSparseRNNRecurrent",
     "(float[5, 1, 12] x, float[1, 16, 12] w) => (float[5, 1, 1, 16] y) { y = RNN <hidden_size = "
     "16, clip = 0.5> (x, w, r) }",
     {{"r", {1, 16, 16}}},
     {4, 4},
     true}};

SparseMatrix packed(const Case& c, const Fold& fold, const Shape& shape) {
  std::mt19937 random(7);
  std::vector<float> elements(fold.count());
  for (float& element : elements) element = static_cast<float>(random() % 2001) / 1000.0F - 1.0F;
  BlockMask mask(c.block, fold, false);
  for (size_t i = 0; i < mask.kept.size(); ++i) mask.kept[i] = random() % 3 == 0;
  const bool diagonal = c.diagonal && fold.rows == fold.cols;
  SparseMatrix matrix = pack_blocks(from_f32(elements, c.weight, shape), fold, mask, diagonal);
  return c.values == c.weight ? matrix : with_values(matrix, c.values);
}

// The net with its weights packed, as its operator folds them.
Model model_of(const Case& c, const std::string& net = "") {
  const std::string head = R"(<ir_version: 8, opset_import: ["" : 17]> net )";
  auto proto = espalier::model_of((head + (net.empty() ? c.net : net)).c_str());
  for (const auto& [name, shape] : c.weights) {
    pb::TensorProto& tensor = *proto.mutable_graph()->add_initializer();
    tensor.set_name(name);
    tensor.set_data_type(c.weight == DType::kF16 ? pb::TensorProto::FLOAT16
                                                 : pb::TensorProto::FLOAT);
    for (const int64_t extent : shape) tensor.add_dims(extent);
    tensor.set_raw_data(std::string(byte_count(c.weight, shape), '\0'));
  }
  Model model = read_proto(proto);
  for (auto& [id, weight] : model.graph.weights) {
    for (const Node& node : model.graph.nodes) {
      const auto input = std::ranges::find(node.inputs, id);
      if (input == node.inputs.end()) continue;
      const Operator* entry = find_operator(node.op, node.domain);
      if (entry->fold == nullptr) continue;
      const auto fold = entry->fold(node, input - node.inputs.begin(), weight.shape());
      REQUIRE(fold);
      weight.value = packed(c, *fold, weight.shape());
    }
  }
  return model;
}

const SparseMatrix& packed_weight(const Model& model, const std::string& name) {
  for (const auto& [id, weight] : model.graph.weights) {
    if (model.graph.values[id].name != name) continue;
    REQUIRE(weight.is_sparse());
    return weight.sparse();
  }
  FAIL("no weight of that name");
  return model.graph.weights.begin()->second.sparse();
}

void check_equal(const SparseMatrix& a, const SparseMatrix& b) {
  CHECK(a.shape == b.shape);
  CHECK(a.fold == b.fold);
  CHECK(a.block == b.block);
  CHECK(a.row_start == b.row_start);
  CHECK(a.col == b.col);
  CHECK(same_bits(a.values, b.values));
  CHECK(a.diagonal.count() == b.diagonal.count());
  if (a.has_diagonal()) CHECK(same_bits(a.diagonal, b.diagonal));
  CHECK(a.scale.count() == b.scale.count());
  if (a.scale.count() != 0) CHECK(same_bits(a.scale, b.scale));
  CHECK(a.dtype == b.dtype);
}

TEST_CASE(
    "profiles operator and region come back packed as they were, and are written alike again") {
  for (const Case& c : kCases) {
    for (const std::string name : {"operator", "region"}) {
      CAPTURE(c.net);
      CAPTURE(name);
      const Model model = model_of(c);
      const auto proto = proto_of(model, profile(name));
      pb::checker::check_model(proto, /*full_check=*/true);
      REQUIRE(proto.graph().node_size() == 1);
      CHECK(proto.graph().node(0).op_type() ==
            (name == "region" ? std::string(kRegionName) : c.function));
      CHECK(proto.graph().node(0).domain() == "ai.espalier");
      const Model again = read_proto(proto);
      REQUIRE(again.graph.nodes.size() == 1);
      CHECK(again.graph.nodes[0].op == model.graph.nodes[0].op);
      CHECK(again.graph.nodes[0].domain.empty());
      CHECK(again.graph.nodes[0].inputs.size() == model.graph.nodes[0].inputs.size());
      CHECK(again.graph.weights.size() == c.weights.size());
      for (const auto& [weight, shape] : c.weights)
        check_equal(packed_weight(again, weight), packed_weight(model, weight));
      CHECK(difference(proto, proto_of(again, profile(name))) == "");
      // Nothing of the profile is left in the model.
      CHECK(proto_of(again, profile("dense")).functions_size() == 0);
    }
  }
}

TEST_CASE("a call of profile operator names every attribute that has a default") {
  const auto names = [](const Case& c) {
    std::vector<std::string> result;
    const auto proto = proto_of(model_of(c), profile("operator"));
    for (const auto& attribute : proto.graph().node(0).attribute())
      result.push_back(attribute.name());
    std::ranges::sort(result);
    return result;
  };
  CHECK(names(kCases[4]) == std::vector<std::string>{"B_diagonal_at", "B_name", "B_perm", "B_type",
                                                     "alpha", "beta", "transA", "transB"});
  CHECK(names(kCases[6]) == std::vector<std::string>{"W_diagonal_at", "W_name", "W_perm", "W_type",
                                                     "auto_pad", "dilations", "group",
                                                     "kernel_shape", "pads", "strides"});
  CHECK(names(kCases[9]) == std::vector<std::string>{"W_diagonal_at", "W_name", "W_perm", "W_type",
                                                     "activation_names", "activations", "direction",
                                                     "hidden_size", "layout",
                                                     "linear_before_reset"});
}

TEST_CASE("weights that two operators read are stored once") {
  const Case& c = kCases[0];
  const Model model = model_of(
      c,
      "(float[2, 12] x) => (float[2, 32] y) { a = MatMul(x, w) b = MatMul(x, w) y = Add(a, b) }");
  const auto proto = proto_of(model, profile("operator"));
  CHECK(proto.functions_size() == 1);
  CHECK(proto.graph().initializer_size() == kOperatorParts.size());
  const Model again = read_proto(proto);
  CHECK(again.graph.weights.size() == 1);
  check_equal(packed_weight(again, "w"), packed_weight(model, "w"));
  CHECK(difference(proto, proto_of(again, profile("operator"))) == "");
}

TEST_CASE("a weight that another operator reads too is decoded for all") {
  const Model model = model_of(
      kCases[0],
      "(float[2, 12] x) => (float[2, 32] y, float[12, 32] z) { y = MatMul(x, w) z = Identity(w) }");
  const auto proto = proto_of(model, profile("operator"));
  REQUIRE(proto.graph().node_size() == 3);
  CHECK(proto.graph().node(0).op_type().starts_with("BlockSparseDecode"));
  CHECK(proto.graph().node(1).op_type() == "MatMul");
}

TEST_CASE("operators that the runtime lacks divide regions") {
  const Model model =
      model_of(kCases[0], R"((float[2, 12] x) => (float[2, 32] y, float[2, 32] z) <float[2, 32] b> {
        a = MatMul(x, w) b = Relu(a) c = Det(b) d = MatMul(x, w) y = Add(d, b) z = Identity(c) })");
  SUBCASE("a weight that two regions read is decoded outside of them") {
    const auto proto = proto_of(model, profile("region"));
    CHECK(proto.functions_size() == 1);
    CHECK(proto.graph().node_size() == model.graph.nodes.size() + 1);
  }
  SUBCASE("otherwise each has its own") {
    Model other = model;
    const ValueId v = add_value(other.graph, "v", DType::kF32, Shape{12, 32});
    other.graph.weights.emplace(v, other.graph.weights.begin()->second);
    other.graph.nodes[3].inputs[1] = v;
    const auto proto = proto_of(other, profile("region"));
    std::vector<std::string> nodes;
    for (const auto& node : proto.graph().node()) nodes.push_back(node.op_type());
    CHECK(nodes == std::vector<std::string>{"BlockSparseRegion", "Det", "BlockSparseRegion1"});
    pb::checker::check_model(proto);
    const Model again = read_proto(proto);
    CHECK(again.graph.nodes.size() == model.graph.nodes.size());
    check_equal(packed_weight(again, "v"), packed_weight(model, "w"));
    CHECK(difference(proto, proto_of(again, profile("region"))) == "");
  }
}

pb::AttributeProto& attribute(pb::ModelProto& proto, const std::string& name) {
  for (auto& attribute : *proto.mutable_graph()->mutable_node(0)->mutable_attribute()) {
    if (attribute.name() == name) return attribute;
  }
  FAIL("no attribute of that name");
  return *proto.mutable_graph()->mutable_node(0)->mutable_attribute(0);
}

TEST_CASE("calls that are not as espalier writes them") {
  auto proto = proto_of(model_of(kCases[0]), profile("operator"));
  const auto part = [&](const std::string& name) -> pb::TensorProto& {
    for (auto& tensor : *proto.mutable_graph()->mutable_initializer()) {
      if (tensor.name() == "w/" + name) return tensor;
    }
    FAIL("no part of that name");
    return *proto.mutable_graph()->mutable_initializer(0);
  };
  SUBCASE("an index out of the grid") {
    part("index").mutable_raw_data()->replace(2, 1, "\x7f");
    CHECK(refusal(proto) == "packed weight w: block 0 is in block column 127, the grid has 12");
  }
  SUBCASE("a scale for values that have none") {
    part("scale").mutable_raw_data()->replace(3, 1, "\x40");
    CHECK(refusal(proto) == "packed weight w: B_scale: expected 1 for values of that type");
  }
  SUBCASE("a permutation that there is not") {
    attribute(proto, "B_perm").set_ints(0, 1);
    CHECK(refusal(proto) == "packed weight w: B_perm: expected [0, 1, 2] or [0, 2, 1]");
  }
  SUBCASE("a diagonal next to the matrix") {
    attribute(proto, "B_diagonal_at").set_i(3);
    CHECK(refusal(proto).starts_with("packed weight w: B_diagonal_at: expected 0, or the columns"));
  }
  SUBCASE("the type of a weight") {
    attribute(proto, "B_type").set_i(7);
    CHECK(refusal(proto) == "packed weight w: B_type: expected that of f32, f16 or bf16");
  }
  SUBCASE("the name of another value") {
    attribute(proto, "B_name").set_s("x");
    CHECK(refusal(proto) == "packed weight x: the name is empty or that of another value");
  }
  SUBCASE("a function with another body stays what it is") {
    auto& function = *proto.mutable_functions(0);
    function.mutable_node(function.node_size() - 1)->set_op_type("Sum");
    const Model model = read_proto(proto);
    CHECK(model.graph.nodes[0].op == "BlockSparseMatMul");
    CHECK(difference(proto, proto_of(model)) == "");
  }
  SUBCASE("an attribute that is absent: the call stays what it is") {
    proto.mutable_graph()->mutable_node(0)->mutable_attribute()->RemoveLast();
    CHECK(read_proto(proto).graph.nodes[0].op == "BlockSparseMatMul");
  }
}

TEST_CASE("a region whose two bodies differ is refused") {
  auto proto = proto_of(model_of(kCases[0]), profile("region"));
  std::string& body = *attribute(proto, "body").mutable_s();
  SUBCASE("another operator") { body.replace(body.find("MatMul"), 6, "Matmul"); }
  SUBCASE("no model") { body = "\xff\xff"; }
  SUBCASE("none") { body.clear(); }
  CHECK(refusal(proto) ==
        "node BlockSparseRegion: its attribute body differs from function BlockSparseRegion");
}

TEST_CASE("profile operator has one index") {
  CHECK_THROWS_WITH_AS(onnx_bytes(model_of(kCases[0]), profile("operator", "first-element")),
                       "profile operator has index grid alone", Error);
}

TEST_CASE("a call on tensors of somebody else is a model of one node") {
  const auto packed =
      std::ranges::find(packed_operators(), "BlockSparseMatMul", &PackedOperator::name);
  REQUIRE(packed != packed_operators().end());
  const SparseMatrix matrix = packed_weight(model_of(kCases[0]), "w");
  OperatorWeight weight = operator_weight(matrix, "B", "w");
  std::vector<CallInput> inputs{{true, DType::kF32}};
  for (Tensor& part : weight.parts) inputs.push_back({true, part.dtype(), part});
  SUBCASE("constants") {
    const Model model = model_of_call(*packed, weight.attributes, inputs, {true});
    REQUIRE(model.graph.nodes.size() == 1);
    CHECK(model.graph.nodes[0].op == "MatMul");
    check_equal(packed_weight(model, "w"), matrix);
  }
  SUBCASE("a part that is no constant") {
    inputs[1].constant.reset();
    CHECK_THROWS_AS(model_of_call(*packed, weight.attributes, inputs, {true}), Error);
  }
}

}  // namespace
}  // namespace espalier
