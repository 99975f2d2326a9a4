#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "formats/nnef/write/context.h"

namespace espalier::nnef {

/// One weight being written: where its variables and its decode go.
struct WeightWriter {
  WriteState& state;
  const std::string& id;

  /// `NAME = variable<T>(...)` of a tensor that `make` gives when the file is written.
  Wire variable(std::string name, std::string label, DType dtype, const Shape& shape,
                std::function<Tensor()> make) const;
  /// The variable LABEL/SUFFIX.
  Wire part(std::string_view suffix, const std::string& label, DType dtype, const Shape& shape,
            std::function<Tensor()> make) const;
  /// `ID_SUFFIX = expression;`
  Wire step(std::string_view suffix, std::string expression, const Shape& shape,
            DType dtype = DType::kF32) const;
  /// Whether the profile spells weights without tract's registry: portable, opaque.
  bool is_plain() const;
  /// Lets the fragment, and what it calls, stand in the file.
  void use(Decode kind) const;
};

bool is_ragged(const SparseMatrix& matrix);

/// Whether the decode can give the weight's shape: as it folds, or with its last two axes swapped. A
/// weight that cannot be spelled so (that of a transposed convolution) is written dense.
bool has_decoded_shape(const SparseMatrix& matrix);

/// The weight's shape with outputs before inputs.
/// Errors  Fault::kUnsupported where it folds in another way.
Shape decoded_shape(const SparseMatrix& matrix);

/// 0, 1, 2, ... as a row or column that all strips of that size share.
const Wire& count_up(const WeightWriter& w, std::string_view name, const Shape& shape);

struct Strip;
/// Values and grid index of a strip of a packed weight as variables; attributes of the decode that
/// fits, for a strip of several parts only if it is all of them.
DecodeArguments write_blocks(const WeightWriter& w, const std::string& label,
                             const SparseMatrix& matrix, const Strip& strip, const Shape& shape);

/// The packed weight as [..., outputs, inputs], as options.profile and options.index say. The
/// matrix must outlive the writing.
Wire write_packed(const WeightWriter& w, std::string_view name, const SparseMatrix& matrix);

/// Blocks of standard operators alone (write_portable.cpp), f32 in `shape`.
/// Strips   joined by concat; no intermediate passes kFoldedBytes, but for blocks and weights
///          that do so themselves. A strip without blocks has one of zeros beside the grid.
Wire write_portable(const WeightWriter& w, const std::string& label, const SparseMatrix& matrix,
                    const Shape& shape);

/// A strip with kept blocks, as values and one item of a mask for each block of its grid; of several
/// parts only if it is all of them.
Wire write_bitmap(const WeightWriter& w, const std::string& label, const SparseMatrix& matrix,
                  const Strip& strip, const Shape& shape);
/// NAME/values of a strip.
Wire write_values(const WeightWriter& w, const std::string& label, const SparseMatrix& matrix,
                  const Strip& strip);
/// `index` was made of the matrix's own, which is not needed again after its last strip.
Tensor index_made(const SparseMatrix& matrix, const Strip& strip, Tensor index);

/// The weight in its own shape as values and a 0/1 mask of the same shape: select(mask, v, 0.0).
Wire write_masked(const WeightWriter& w, std::string_view name, const SparseMatrix& matrix);

}  // namespace espalier::nnef
