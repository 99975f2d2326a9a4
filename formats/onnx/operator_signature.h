#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/ir/node_kinds.h"

namespace espalier {

enum class AttributeKind { kInt, kFloat, kString, kInts, kFloats, kStrings };
using AttributeNames = std::vector<std::pair<std::string_view, AttributeKind>>;

/// Inputs, outputs and attributes of an operator of ONNX whose weights may be packed in profile
/// `operator`.
struct OperatorSignature {
  std::string_view op;
  std::vector<std::string_view> inputs, outputs;
  AttributeNames attributes;
};
const OperatorSignature& operator_signature(std::string_view op);

inline constexpr int64_t kOpsetWithLayout = 14;  ///< of recurrent layers

/// Attributes of a call that say how a packed input is decoded, behind the input's name.
const AttributeNames& weight_attributes();
std::string part_name(std::string_view input, std::string_view part);  ///< "B_perm"

/// Lists of strings do not reach custom operators of onnxruntime: `activations` as one string.
inline constexpr std::string_view kActivationNames = "activation_names";

}  // namespace espalier
