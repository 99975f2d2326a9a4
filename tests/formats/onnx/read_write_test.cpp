#include <filesystem>

#include "formats/format.h"
#include "lib/base/mapped_file.h"
#include "tests/formats/onnx/onnx_cases.h"
#include "tests/support/shared_files.h"

namespace espalier {
namespace {

void check_unchanged(const pb::ModelProto& proto) {
  CHECK(difference(proto, proto_of(read_proto(proto))) == "");
}

void add_metadata(google::protobuf::RepeatedPtrField<pb::StringStringEntryProto>* list) {
  auto* entry = list->Add();
  entry->set_key("key");
  entry->set_value("value");
}

TEST_CASE("every shared model is written back field by field") {
  const auto models = shared_path("models");
  if (!models) return;
  size_t count = 0;
  for (const auto& folder : std::filesystem::directory_iterator(*models)) {
    const auto path = folder.path() / "model.onnx";
    if (!std::filesystem::exists(path)) continue;
    CAPTURE(path.string());
    const auto file = MappedFile::open(path);
    pb::ModelProto proto;
    REQUIRE(proto.ParseFromArray(file->bytes().data(), static_cast<int>(file->bytes().size())));
    CHECK(difference(proto, proto_of(read_model(path))) == "");
    ++count;
  }
  CHECK(count != 0);
}

TEST_CASE("fields that espalier does not understand come back word for word") {
  pb::ModelProto proto = model_of(R"(
    <ir_version: 10, opset_import: ["" : 21, "com.example" : 3], producer_name: "p",
     producer_version: "1", domain: "d", model_version: 7, doc_string: "doc">
    net (float[N, 4] x) => (float[N, M] y)
    <float[4, 2] W = {1, 2, 3, 4, 5, 6, 7, 8}>
    { h = com.example.Odd <a = 3, b = "text", c = [1.5, 2.5]> (x)
      y = MatMul(h, W) })");
  add_metadata(proto.mutable_metadata_props());
  pb::GraphProto& graph = *proto.mutable_graph();
  graph.set_doc_string("graph");
  add_metadata(graph.mutable_metadata_props());
  graph.add_quantization_annotation()->set_tensor_name("W");
  graph.mutable_input(0)->set_doc_string("input");
  graph.mutable_input(0)->mutable_type()->set_denotation("TENSOR");
  graph.mutable_input(0)
      ->mutable_type()
      ->mutable_tensor_type()
      ->mutable_shape()
      ->mutable_dim(0)
      ->set_denotation("DATA_BATCH");
  auto* inner = graph.add_value_info();
  inner->set_name("h");
  inner->mutable_type()->mutable_tensor_type()->set_elem_type(pb::TensorProto::FLOAT);
  graph.add_value_info()->set_name("nobody");
  graph.mutable_initializer(0)->set_doc_string("weight");
  pb::NodeProto& odd = *graph.mutable_node(0);
  odd.set_doc_string("node");
  odd.set_overload("second");
  add_metadata(odd.mutable_metadata_props());
  odd.mutable_attribute(0)->set_doc_string("attribute");
  auto* type = odd.add_attribute();
  type->set_name("type");
  type->set_type(pb::AttributeProto::TYPE_PROTO);
  type->mutable_tp()->mutable_tensor_type()->set_elem_type(pb::TensorProto::INT8);
  auto* tensors = odd.add_attribute();
  tensors->set_name("tensors");
  tensors->set_type(pb::AttributeProto::TENSORS);
  tensors->add_tensors()->set_name("t");
  proto.add_training_info()->mutable_algorithm()->set_name("train");
  odd.GetReflection()->MutableUnknownFields(&odd)->AddLengthDelimited(1234, "node");
  proto.GetReflection()->MutableUnknownFields(&proto)->AddVarint(4321, 5);
  graph.GetReflection()->MutableUnknownFields(&graph)->AddFixed32(999, 6);
  check_unchanged(proto);
}

TEST_CASE("fields that are there but empty, and zeros that are not there, stay so") {
  pb::ModelProto proto = model_of(R"(
    <ir_version: 8, opset_import: ["ai.onnx" : 13]>
    net (float[4] x) => (float[4] y) { h = Softmax <axis = 0> (x)  y = ai.onnx.Relu(h) })");
  pb::NodeProto& softmax = *proto.mutable_graph()->mutable_node(0);
  softmax.set_name("");
  softmax.set_domain("");
  softmax.mutable_attribute(0)->clear_i();  // proto3 writers leave zeros out
  softmax.add_output("");
  proto.mutable_graph()->mutable_node(1)->set_domain("ai.onnx");
  proto.mutable_graph()->set_name("");
  check_unchanged(proto);
  const Model model = read_proto(proto);
  CHECK(model.graph.nodes[1].domain.empty());
  CHECK(int_attribute(model.graph.nodes[0], "axis", -1) == 0);
}

TEST_CASE("values of Constant nodes are weights and go back into their attributes") {
  pb::ModelProto proto = model_of(R"(
    <ir_version: 8, opset_import: ["" : 17]>
    net () => (float[2] a, float b, int64 c, float[2] d, int64[2] e, string f, string[2] g) {
      a = Constant <value = float[2] {1, 2}> ()
      b = Constant <value_float = 1.5> ()
      c = Constant <value_int = 3> ()
      d = Constant <value_floats = [1.5, 2.5]> ()
      e = Constant <value_ints = [1, 2]> ()
      f = Constant <value_string = "text"> ()
      g = Constant <value_strings = ["one", "two"]> ()
    })");
  check_unchanged(proto);
  const Model model = read_proto(proto);
  CHECK(model.graph.nodes.size() == 7);
  REQUIRE(model.graph.weights.size() == 7);
  CHECK(to_i64(model.graph.weights.at(model.graph.nodes[2].outputs[0]).dense()) ==
        std::vector<int64_t>{3});
  CHECK(to_f32(model.graph.weights.at(model.graph.nodes[3].outputs[0]).dense()) ==
        std::vector<float>{1.5F, 2.5F});
  CHECK(model.graph.weights.at(model.graph.nodes[6].outputs[0]).shape() == Shape{2});
}

TEST_CASE("a Constant whose weight changed type or shape is written as a tensor") {
  Model model = read_proto(model_of(R"(
    <ir_version: 8, opset_import: ["" : 17]>
    net () => (float[2] y) { y = Constant <value_floats = [1.5, 2.5]> () })"));
  model.graph.weights.begin()->second.value =
      Tensor::of<float>({1, 2}, std::vector<float>{3.0F, 4.0F});
  const pb::ModelProto proto = proto_of(model);
  REQUIRE(proto.graph().node(0).attribute_size() == 1);
  CHECK(proto.graph().node(0).attribute(0).name() == "value");
  CHECK(proto.graph().node(0).attribute(0).t().dims_size() == 2);
}

constexpr const char* kIf = R"(
    <ir_version: 8, opset_import: ["" : 17]>
    net (bool c, float[2] x) => (float[2] y) <float[2] w = {1, 2}> {
      h = Relu(x)
      y = If (c) <
        then_branch = then_net () => (float[2] a) <float[2] v = {3, 4}> { t = Add(h, v)  a = Add(t, w) },
        else_branch = else_net () => (float[2] b) { b = Identity(h) }>
    })";

TEST_CASE("subgraphs are graphs of their own and see the values around them") {
  const pb::ModelProto proto = model_of(kIf);
  check_unchanged(proto);
  const Model model = read_proto(proto);
  std::vector<std::string> prefixes;
  size_t weights = 0;
  for_each_graph(model.graph, [&](const Graph& graph, const std::string& prefix) {
    prefixes.push_back(prefix);
    weights += graph.weights.size();
  });
  CHECK(prefixes == std::vector<std::string>{"", "If_1/then_branch/", "If_1/else_branch/"});
  CHECK(weights == 2);
}

TEST_CASE("an initializer may be an input or an output, an input may be an output") {
  pb::ModelProto proto = model_of(R"(
    <ir_version: 3, opset_import: ["" : 7]>
    net (float[2] x, float[2] w) => (float[2] y, float[2] w, float[2] x) <float[2] w = {1, 2}>
    { y = Add(x, w) })");
  proto.mutable_graph()
      ->mutable_output(2)
      ->mutable_type()
      ->mutable_tensor_type()
      ->mutable_shape()
      ->mutable_dim(0)
      ->set_dim_param("M");
  check_unchanged(proto);
}

TEST_CASE("functions of a model are carried along, calls of them are nodes") {
  check_unchanged(model_of(R"(
    <ir_version: 8, opset_import: ["" : 17, "local" : 1]>
    net (float[2] x) => (float[2] y) { y = local.twice <n = 3> (x) }
    <domain: "local", opset_import: ["" : 17]>
    twice <n> (a) => (b) { b = Add(a, a) })"));
}

TEST_CASE("what is wrong with a model is said with its place") {
  pb::ModelProto proto = model_of(kIf);
  SUBCASE("opsets") {
    proto.mutable_opset_import(0)->set_version(6);
    // Relu is in opset 6 what it is in 7, Add in the branch is not.
    CHECK(refusal(proto).starts_with("Add of opset 6 is not supported, expected opset 7 to "));
    proto.mutable_opset_import(0)->set_version(9999);
    CHECK(refusal(proto).starts_with("opset 9999 is not supported"));
    proto.mutable_opset_import(0)->set_domain("other");
    CHECK(refusal(proto) == "imports no operator set of the default domain");
  }
  SUBCASE("a subgraph reads what nobody makes") {
    proto.mutable_graph()
        ->mutable_node(1)
        ->mutable_attribute(1)
        ->mutable_g()
        ->mutable_node(0)
        ->set_input(0, "ghost");
    CHECK(refusal(proto).find("ghost") != std::string::npos);
    CHECK(refusal(proto).starts_with("node If: attribute else_branch: "));
  }
  SUBCASE("an attribute twice") {
    auto* node = proto.mutable_graph()->mutable_node(1);
    *node->add_attribute() = node->attribute(0);
    CHECK(refusal(proto) == "node If: duplicate attribute then_branch");
  }
  SUBCASE("an attribute without a type") {
    proto.mutable_graph()->mutable_node(1)->mutable_attribute(0)->clear_type();
    CHECK(refusal(proto) ==
          "node If: attribute then_branch: has no type, or one that ONNX does not define");
  }
  SUBCASE("no graph") {
    proto.clear_graph();
    CHECK(refusal(proto) == "has no graph");
  }
}

TEST_CASE("an operator that only NNEF has is refused by the writer") {
  Model model = read_proto(model_of(kIf));
  model.graph.nodes[0].domain = "nnef";
  model.graph.nodes[0].op = "local_response_normalization";
  model.graph.nodes[0].name = "lrn";
  try {
    onnx_bytes(model);
    FAIL("was written");
  } catch (const Error& error) {
    CHECK(error.fault() == Fault::kUnsupported);
    CHECK(std::string(error.what()) ==
          "node nnef.local_response_normalization (lrn): ONNX has no counterpart of this NNEF "
          "operator");
  }
}

TEST_CASE("a model of another format gets a frame of its own") {
  Model model = read_proto(model_of(kIf));
  model.origin.format = "nnef";
  model.origin.extra = "extension KHR_enable_fragment_definitions;";
  model.origin.opset = kNnefOpset;
  const pb::ModelProto proto = proto_of(model);
  CHECK(proto.ir_version() == 8);
  CHECK(proto.producer_name() == "espalier");
  REQUIRE(proto.opset_import_size() == 1);
  CHECK(proto.opset_import(0).version() == kNnefOpset);
  CHECK(proto.functions_size() == 0);
}

TEST_CASE("free dimensions of inputs are bound as asked") {
  const Model model = read_proto(model_of(R"(
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[N, 4, M] x) => (float[N, 4, M] y) { y = Relu(x) })"));
  WriteOptions options;
  options.shapes["x"] = {3, -1, -1};
  const auto proto = proto_of(model, options);
  const auto& shape = proto.graph().input(0).type().tensor_type().shape();
  REQUIRE(shape.dim_size() == 3);
  CHECK(shape.dim(0).dim_value() == 3);
  CHECK(shape.dim(1).dim_value() == 4);
  CHECK(shape.dim(2).dim_param() == "M");
  options.shapes["x"] = {3, 5, -1};
  CHECK_THROWS_AS(onnx_bytes(model, options), Error);
  options.shapes = {{"z", {3}}};
  CHECK_THROWS_AS(onnx_bytes(model, options), Error);
}

TEST_CASE("a bound dimension is bound for every input that shares its name") {
  const Model model = read_proto(model_of(R"(
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[N, 4] x, float[N, 4] z) => (float[N, 4] y) { y = Add(x, z) })"));
  WriteOptions options;
  options.shapes["x"] = {3, -1};
  const auto proto = proto_of(model, options);
  CHECK(proto.graph().input(1).type().tensor_type().shape().dim(0).dim_value() == 3);
  options.shapes["z"] = {2, 4};
  CHECK_THROWS_WITH_AS(onnx_bytes(model, options), "dimension 'N' is bound to 3 and to 2", Error);
}

TEST_CASE("an unknown profile or index is an error of usage") {
  const Model model = read_proto(model_of(kIf));
  CHECK_THROWS_AS(onnx_bytes(model, profile("tract")), Error);
  CHECK_THROWS_AS(onnx_bytes(model, profile("", "last")), Error);
}

}  // namespace
}  // namespace espalier
