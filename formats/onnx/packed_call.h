#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/onnx/operator_signature.h"
#include "lib/ir/model.h"

namespace espalier {

/// A function of profile `operator` as the runtime of somebody else sees a call of it, where it has
/// an operator of that name and does not look into the function.
struct PackedOperator {
  std::string_view name;    ///< in domain ai.espalier
  std::vector<bool> parts;  ///< for each input: whether it is part of a packed weight
  size_t outputs;
  std::vector<std::pair<std::string, AttributeKind>> attributes;  ///< that a call may have
};
const std::vector<PackedOperator>& packed_operators();

struct CallInput {
  bool given = false;
  DType dtype = DType::kUnknown;
  std::optional<Tensor> constant = std::nullopt;
};

/// The call as a model of one node whose weights are packed. Inputs that are no constants are called
/// "input 0" and so on, outputs "output 0"; those that are not true are left out.
/// Errors  Fault::kFormat naming the weight, where its parts break an invariant.
///         Fault::kUnsupported where parts are not constants.
Model model_of_call(const PackedOperator& packed_operator, std::vector<Attribute> attributes,
                    const std::vector<CallInput>& inputs, const std::vector<bool>& outputs);

/// Names of the functions of profile `region`: "BlockSparseRegion", "BlockSparseRegion1", ...
inline constexpr std::string_view kRegionName = "BlockSparseRegion";
inline constexpr size_t kMaxRegions = 32;
std::string region_name(size_t index);

}  // namespace espalier
