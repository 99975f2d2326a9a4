#pragma once

#include <map>
#include <memory>
#include <string>
#include <variant>

#include "lib/ir/model.h"

namespace espalier::nnef {

/// What stacked_diagonal gives: parts of n x n that are zero off the diagonal, as the [parts * n]
/// values on it. Or, as stacked_diagonal_strip gives it, the rows of one part from `first` on, one
/// for each value.
struct Diagonal {
  Tensor values;
  size_t parts = 1, n = 0;
  size_t first = 0;

  bool is_whole() const { return first == 0 && values.count() == parts * n; }
};

/// A constant that is not in the graph until an operator reads it: variables that a decode takes
/// never are. What is derived from it (another shape) is made once and shares its bytes.
struct Constant {
  std::string name;  ///< the label or identifier that the weight will have where it is free
  std::variant<Tensor, SparseMatrix, Diagonal> value;
  Shape shape;

  bool has_label = false;  ///< `name` is a label, not what an assignment wished
  bool masked = false;     ///< dense, of a mask: packed by the operator that folds it

  ValueId placed = kNoValue;  ///< the value in the graph, see GraphBuilder::place
  std::map<std::string, std::shared_ptr<Constant>> derived;
  std::weak_ptr<Constant> unshaped;  ///< of a reshaped one: what it was before the first reshape
  std::weak_ptr<Constant> unturned;  ///< of a transposed one: what it was
  std::weak_ptr<Constant> narrow;    ///< of one cast from f16: what it was

  const Tensor* dense() const { return std::get_if<Tensor>(&value); }
  const SparseMatrix* sparse() const { return std::get_if<SparseMatrix>(&value); }
  const Diagonal* diagonal() const { return std::get_if<Diagonal>(&value); }
  DType dtype() const;
};
using ConstantPtr = std::shared_ptr<Constant>;

ConstantPtr make_constant(std::string name, Tensor tensor);
ConstantPtr make_constant(std::string name, SparseMatrix matrix);
ConstantPtr make_constant(std::string name, Diagonal diagonal, Shape shape);

/// The elements as a dense tensor: decoded where they are packed.
Tensor dense_value(const Constant& constant);

/// The same elements under another shape of equal count (a bug otherwise).
ConstantPtr reshaped(const ConstantPtr& constant, const Shape& shape);

/// The last two axes swapped. A packed matrix keeps its bytes: only its fold turns around.
ConstantPtr transposed(const ConstantPtr& constant);

/// The elements as `dtype`, nothing where that is not exact or not known to be.
ConstantPtr widened(const ConstantPtr& constant, DType dtype);

/// Elements begin to end of the first axis.
ConstantPtr first_axis_slice(const ConstantPtr& constant, int64_t begin, int64_t end);

/// A packed constant whose parts lie as `fold` says, the same bits; a masked one packed in the
/// smallest way where that is smaller; any other, and where `fold` has other elements, as it is.
ConstantPtr folded(const ConstantPtr& constant, const Fold& fold);

/// Whether a dense constant holds nothing but zero bits (or bits of -0.0).
bool is_zero(const Constant& constant);

}  // namespace espalier::nnef
