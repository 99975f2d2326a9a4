#include "formats/onnx/operator_signature.h"

#include <fmt/format.h>

#include <algorithm>

namespace espalier {
namespace {

using enum AttributeKind;

// As of opset 22; earlier ones lack `layout` alone.
const std::vector<OperatorSignature>& signatures() {
  static const std::vector<OperatorSignature> kOperatorSignatures{
      {"MatMul", {"A", "B"}, {"Y"}, {}},
      {"Gemm",
       {"A", "B", "C"},
       {"Y"},
       {{"alpha", kFloat}, {"beta", kFloat}, {"transA", kInt}, {"transB", kInt}}},
      {"Conv",
       {"X", "W", "B"},
       {"Y"},
       {{"auto_pad", kString},
        {"dilations", kInts},
        {"group", kInt},
        {"kernel_shape", kInts},
        {"pads", kInts},
        {"strides", kInts}}},
      {"GRU",
       {"X", "W", "R", "B", "sequence_lens", "initial_h"},
       {"Y", "Y_h"},
       {{"activation_alpha", kFloats},
        {"activation_beta", kFloats},
        {"activations", kStrings},
        {"clip", kFloat},
        {"direction", kString},
        {"hidden_size", kInt},
        {"layout", kInt},
        {"linear_before_reset", kInt}}},
      {"LSTM",
       {"X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"},
       {"Y", "Y_h", "Y_c"},
       {{"activation_alpha", kFloats},
        {"activation_beta", kFloats},
        {"activations", kStrings},
        {"clip", kFloat},
        {"direction", kString},
        {"hidden_size", kInt},
        {"input_forget", kInt},
        {"layout", kInt}}},
      {"RNN",
       {"X", "W", "R", "B", "sequence_lens", "initial_h"},
       {"Y", "Y_h"},
       {{"activation_alpha", kFloats},
        {"activation_beta", kFloats},
        {"activations", kStrings},
        {"clip", kFloat},
        {"direction", kString},
        {"hidden_size", kInt},
        {"layout", kInt}}}};
  return kOperatorSignatures;
}

}  // namespace

const OperatorSignature& operator_signature(std::string_view op) {
  return *std::ranges::find(signatures(), op, &OperatorSignature::op);
}

const AttributeNames& weight_attributes() {
  static const AttributeNames kNames{
      {"diagonal_at", kInt}, {"perm", kInts}, {"type", kInt}, {"name", kString}};
  return kNames;
}

std::string part_name(std::string_view input, std::string_view part) {
  return fmt::format("{}_{}", input, part);
}

}  // namespace espalier
