#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/onnx/decode_function.h"

namespace espalier {

/// A function of profile `operator`: an operator of ONNX together with the decodes of those of its
/// inputs that are packed. docs/formats/sparse-onnx.md, "Operators".
struct OperatorForm {
  std::string_view op;         ///< ONNX's
  std::string_view name;       ///< of the function: "BlockSparseGemm"
  std::vector<size_t> packed;  ///< inputs, ascending

  bool is_packed(size_t input) const;
  bool operator==(const OperatorForm& other) const { return name == other.name; }
};

std::span<const OperatorForm> operator_forms();
/// The form of a node of the default domain whose inputs `packed` are packed; null where there is
/// none, or where espalier's runtime does not run the node.
const OperatorForm* operator_form(const Node& node, std::span<const size_t> packed);
const OperatorForm* find_operator_form(std::string_view function);

/// The operator's inputs, by name; a packed one stands for kOperatorParts inputs of the function.
std::span<const std::string_view> operator_inputs(const OperatorForm& form);
inline constexpr std::array<std::string_view, 8> kOperatorParts{
    "values", "index", "grid", "padded", "extent", "scale", "diagonal", "shape"};

pb::FunctionProto operator_function(const OperatorForm& form, int64_t opset);

/// What stands for a packed weight in a call: the parts in the order of kOperatorParts, and
/// attributes of the node, whose names begin with `input`, the operator's name of it.
struct OperatorWeight {
  std::vector<Tensor> parts;
  std::vector<Attribute> attributes;
};
OperatorWeight operator_weight(const SparseMatrix& matrix, std::string_view input,
                               const std::string& name);

/// Attributes of the node that ONNX gives a value where they are left out, with that value; `shape`
/// is that of the first packed weight.
void write_out_defaults(Node& node, const Shape& shape, int64_t opset);

/// A call read back: the operator's node but for its inputs, and for each packed one the name and
/// value of the weight. `constant` gives the tensors of the call's inputs.
/// Errors  Fault::kFormat as matrix_from_parts, naming the weight.
struct OperatorCall {
  struct PackedWeight {
    std::string name;
    SparseMatrix matrix;
  };
  Node node;                          ///< inputs: those of the call that are not parts, in order
  std::vector<PackedWeight> weights;  ///< in the order of OperatorForm::packed
};
/// Nothing where a part is not constant or an attribute is absent.
std::optional<OperatorCall> operator_call(const Node& call, const OperatorForm& form,
                                          const std::function<const Tensor*(ValueId)>& constant);

/// The lowest opset of the default domain that has all nodes of the weight's decode.
int64_t operator_opset(const SparseMatrix& matrix);

}  // namespace espalier
