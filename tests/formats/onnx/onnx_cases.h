#pragma once

#include <doctest/doctest.h>
#include <google/protobuf/util/message_differencer.h>
#include <onnx/defs/parser.h>

#include "formats/onnx/onnx_model.h"
#include "formats/onnx/proto.h"

namespace espalier {

/// A model in onnx's text syntax.
inline pb::ModelProto model_of(const char* text) {
  pb::ModelProto proto;
  pb::OnnxParser parser(text);
  const auto status = parser.Parse(proto);
  REQUIRE_MESSAGE(status.IsOK(), status.ErrorMessage());
  return proto;
}

inline Model read_proto(const pb::ModelProto& proto) {
  const auto bytes = std::make_shared<const std::string>(proto.SerializeAsString());
  return read_onnx(as_bytes(*bytes), bytes, std::nullopt);
}

inline pb::ModelProto proto_of(const Model& model, const WriteOptions& options = {}) {
  pb::ModelProto proto;
  REQUIRE(proto.ParseFromString(onnx_bytes(model, options)));
  return proto;
}

inline WriteOptions profile(std::string name, std::string index = "grid") {
  WriteOptions options;
  options.profile = std::move(name);
  options.index = std::move(index);
  return options;
}

/// The first difference; "" where there is none.
inline std::string difference(const pb::ModelProto& a, const pb::ModelProto& b) {
  std::string report;
  google::protobuf::util::MessageDifferencer differencer;
  differencer.ReportDifferencesToString(&report);
  if (differencer.Compare(a, b)) return "";
  return report.empty() ? "somewhere" : report;
}

/// The text of the error that reading gives; "" where it gives none.
inline std::string refusal(const pb::ModelProto& proto) {
  try {
    read_proto(proto);
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

/// x -> MatMul with W -> y. W is for the test to fill in.
inline pb::ModelProto matmul_model(int64_t opset = 17) {
  pb::ModelProto proto = model_of(R"(
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[N, 4] x) => (float[N, M] y) { y = MatMul(x, W) })");
  proto.mutable_opset_import(0)->set_version(opset);
  return proto;
}

}  // namespace espalier
