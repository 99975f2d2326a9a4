#include "formats/onnx/check_frame.h"

#include "tests/formats/onnx/onnx_cases.h"

namespace espalier {
namespace {

pb::ModelProto calling(const std::string& functions) {
  const std::string text = R"(
    <ir_version: 10, opset_import: ["" : 17, "local" : 1]>
    net (float[2] x) => (float[2] y) { y = local.f (x) })" +
                           functions;
  return model_of(text.c_str());
}

std::string function(const std::string& name, const std::string& body) {
  return "<domain: \"local\", opset_import: [\"\" : 17, \"local\" : 1]> " + name +
         " (a) => (b) { " + body + " }\n";
}

std::string newest() { return std::to_string(static_cast<int>(pb::Version::IR_VERSION)); }

TEST_CASE("a version of the IR is from 1 to the newest that the onnx library knows") {
  pb::ModelProto proto = calling(function("f", "b = Neg (a)"));
  for (const int64_t version : {int64_t{1}, int64_t{pb::Version::IR_VERSION}}) {
    proto.set_ir_version(version);
    CHECK(refusal(proto) == "");
    CHECK(newer_ir_version(proto) == "");
  }
  proto.set_ir_version(0);
  CHECK(refusal(proto) == "ir_version is 0, expected 1 to " + newest());
  proto.set_ir_version(-1);
  CHECK(refusal(proto) == "ir_version is -1, expected 1 to " + newest());
  proto.clear_ir_version();
  CHECK(refusal(proto) == "has no ir_version");
}

TEST_CASE("a newer version is read where all it holds is known, else what is not is named") {
  pb::ModelProto proto = calling(function("f", "b = Neg (a)"));
  const int64_t newer = pb::Version::IR_VERSION + 1;
  proto.set_ir_version(newer);
  const std::string start =
      "ir_version is " + std::to_string(newer) + ", expected 1 to " + newest();
  CHECK(refusal(proto) == "");
  CHECK(newer_ir_version(proto).starts_with(start));
  CHECK(proto_of(read_proto(proto)).ir_version() == newer);

  SUBCASE("an operator of the graph") {
    proto.mutable_graph()->mutable_node(0)->set_op_type("g");
    CHECK(refusal(proto) == start + ": operator local.g is unknown");
  }
  SUBCASE("an operator inside a function") {
    proto.mutable_functions(0)->mutable_node(0)->set_op_type("Negative");
    CHECK(refusal(proto) == start + ": operator Negative is unknown");
  }
  SUBCASE("a field") {
    auto& node = *proto.mutable_graph()->mutable_node(0);
    node.GetReflection()->MutableUnknownFields(&node)->AddVarint(99, 1);
    CHECK(refusal(proto) == start + ": field 99 of NodeProto is unknown");
    proto.set_ir_version(newer - 1);  // carried along, as ever
    CHECK(refusal(proto) == "");
  }
  SUBCASE("the kind of an attribute") {
    auto& attribute = *proto.mutable_graph()->mutable_node(0)->add_attribute();
    attribute.set_name("k");
    attribute.set_i(1);
    attribute.GetReflection()->MutableUnknownFields(&attribute)->AddVarint(20, 77);
    CHECK(refusal(proto) == start + ": field 20 of AttributeProto is unknown");
  }
}

TEST_CASE("functions that call each other in a circle are refused when the model is read") {
  CHECK(refusal(calling(function("f", "b = local.f (a)"))) ==
        "functions call each other in a cycle: local.f -> local.f");
  CHECK(refusal(calling(function("f", "b = local.g (a)") + function("g", "b = local.h (a)") +
                        function("h", "c = Neg (a) b = local.g (c)"))) ==
        "functions call each other in a cycle: local.g -> local.h -> local.g");
  // In a branch, and in functions that nobody calls.
  CHECK(refusal(calling(function("f", "b = Neg (a)") +
                        function("g",
                                 "c = Constant <value_int = 1> () b = If (c) <then_branch = "
                                 "t () => (d) { d = local.g (a) }, else_branch = "
                                 "e () => (d) { d = Neg (a) }>"))) ==
        "functions call each other in a cycle: local.g -> local.g");
  CHECK(refusal(calling(function("f", "b = local.g (a)") + function("g", "b = Neg (a)"))) == "");
}

TEST_CASE("a long circle is shortened, and a long chain takes no stack") {
  std::string chain;
  const int length = 20000;
  for (int i = 0; i < length; ++i) {
    chain += function(i == 0 ? "f" : "f" + std::to_string(i),
                      "b = local.f" + std::to_string(i + 1) + " (a)");
  }
  CHECK(refusal(calling(chain + function("f" + std::to_string(length), "b = Neg (a)"))) == "");
  CHECK(refusal(calling(chain + function("f" + std::to_string(length), "b = local.f (a)"))) ==
        "functions call each other in a cycle: local.f -> local.f1 -> local.f2 -> local.f3 -> "
        "local.f4 -> local.f5 -> ... -> local.f");
}

TEST_CASE("a function is defined once for each overload") {
  pb::ModelProto proto = calling(function("f", "b = Neg (a)"));
  *proto.add_functions() = proto.functions(0);
  CHECK(refusal(proto) == "duplicate function local.f");
  proto.mutable_functions(1)->set_overload("other");
  CHECK(refusal(proto) == "");
}

}  // namespace
}  // namespace espalier
