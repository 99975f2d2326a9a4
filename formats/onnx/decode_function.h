#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "formats/onnx/proto.h"
#include "lib/ir/model.h"

namespace espalier {

inline constexpr std::string_view kDecodeDomain = "ai.espalier";

/// Which of the decode functions a packed weight needs: each does one thing more than the plain one
/// and says so in its name. docs/formats/sparse-onnx.md has them all.
struct DecodeForm {
  bool transposed = false;     ///< the weight is stored [inputs, outputs]
  bool parts = false;          ///< several matrices, stacked
  bool ragged = false;         ///< blocks stick out and are cut off
  bool diagonal = false;       ///< kept apart
  bool first_element = false;  ///< the index names a block's first element, not its grid place
  bool bitmap = false;         ///< the index is one bit for each block of the grid
  bool elements = false;       ///< a bitmap of blocks 1x1, which needs no tiles
  bool cut = false;            ///< a bitmap that does not end with a byte
  /// Blocks are cut into that many lines along the weight's own rows, which are scattered where they
  /// belong and need no transpose; 0: blocks are scattered whole.
  uint32_t lines = 0;
  bool once = false;  ///< blocks and the whole weight are transposed at once
  DType values = DType::kF32, weight = DType::kF32;

  /// Whether the matrices are there one by one, [parts, rows, cols], before the weight's own shape.
  bool stacked() const {
    return lines == 0 && !once &&
           (transposed || parts || ragged || diagonal || first_element || scaled());
  }
  /// Values times the scale of their output.
  bool scaled() const { return values == DType::kI8; }
  DType diagonal_type() const { return scaled() ? weight : values; }
  bool operator==(const DecodeForm&) const = default;
};

/// One node of a decode. Names are those of the function's own values; "weight" is the result.
struct DecodeStep {
  std::string op, output;
  std::vector<std::string> inputs;
  std::vector<Attribute> attributes;
};

/// `index` as WriteOptions has it; without blocks there are no values to pick from, and a bitmap is
/// that of the grid.
DecodeForm decode_form(const SparseMatrix& matrix, std::string_view index);
const std::vector<DecodeForm>& all_decode_forms();
std::string decode_name(const DecodeForm& form);  ///< "BlockSparseDecodeTransposed"
std::vector<std::string> decode_inputs(const DecodeForm& form);
std::vector<DecodeStep> decode_steps(const DecodeForm& form);
pb::FunctionProto decode_function(const DecodeForm& form, int64_t opset);
/// Whether a function of that name computes what ours does: equal inputs, outputs and nodes.
bool same_function(const pb::FunctionProto& a, const pb::FunctionProto& b);
/// The lowest opset of the default domain that has all nodes.
int64_t decode_opset(const DecodeForm& form);

/// The tensors that the decode reads, by input name.
using DecodeParts = std::map<std::string, Tensor>;
DecodeParts decode_parts(const SparseMatrix& matrix, const DecodeForm& form);

/// Errors  Fault::kFormat naming the part and what is wrong with it; all invariants of SparseMatrix
/// are checked, and sizes before anything is allocated.
SparseMatrix matrix_from_parts(const DecodeForm& form, const DecodeParts& parts);

}  // namespace espalier
