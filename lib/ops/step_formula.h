#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "lib/base/thread_pool.h"
#include "lib/ir/model.h"
#include "lib/ops/formula.h"

namespace espalier {

/// What one run of a loop's body is given as rows of vectors, [N, width] and extents of 1: a state,
/// or a step of a sequence. Atoms of kind kInput are numbered as these are.
struct StepInput {
  ValueId value = kNoValue;
  int64_t width = -1;  ///< -1: told by the first product that reads it
  size_t rank = 2;
  size_t batch = 2;  ///< which axis N is, counted from the end; the last is 1
};

/// A value of the body that is the same in all runs. Those that the body makes of others are added
/// to them.
struct StepConstant {
  ValueId value = kNoValue;     ///< where it was given
  std::optional<Tensor> dense;  ///< nothing: only its shape is known
  Shape shape;
  std::vector<size_t> sources;  ///< the given constants that it was made of
};

/// A value of the body: pieces next to each other along the last axis.
struct StepColumns {
  struct Piece {
    int64_t width;
    Polynomial formula;
  };
  std::vector<Piece> pieces;
  size_t rank = 2, batch = 2;

  int64_t width() const;
};

/// What the values in a loop's body are as formulas of its inputs: slices, splits, transposes and
/// casts fall away, constants are computed. Values made by operators that no step of a recurrent
/// layer has, and all that depends on them, have no formula.
class StepFormula {
 public:
  StepFormula(const Graph& body, int64_t opset, DType dtype, std::vector<StepInput> inputs,
              std::vector<StepConstant> constants, ThreadPool& pool);

  /// Null where there is no formula.
  const StepColumns* find(ValueId value) const;

  const std::vector<StepInput>& inputs() const { return inputs_; }
  const std::vector<StepConstant>& constants() const { return constants_; }
  AtomTable& atoms() { return atoms_; }
  const AtomTable& atoms() const { return atoms_; }

 private:
  // A constant, or a part of a matrix: rows and columns as it is stored, swapped where transposed.
  struct View {
    size_t constant;
    bool transposed = false, whole = true;
    ColumnRange rows, columns;
  };
  using Known = std::variant<StepColumns, View>;
  using Columns = std::optional<StepColumns>;

  void infer_widths(const Graph& body);
  View view_of(size_t constant) const;
  const View* view(ValueId value) const;
  const StepColumns* columns(const Node& node, size_t input) const;
  const Tensor* dense(ValueId value) const;
  Tensor materialised(const View& view) const;
  std::optional<double> number(const Node& node, size_t input) const;
  std::optional<std::vector<int64_t>> integers(const Node& node, size_t input,
                                               std::string_view attribute) const;

  void add_node(const Node& node);
  bool add_constants(const Node& node);
  std::optional<View> narrowed(const Node& node) const;
  bool add_epilogue(const Node& node);
  bool add_split(const Node& node);

  Columns of_node(const Node& node);
  Columns arithmetic(const Node& node);
  Columns vector_operand(const Node& node, size_t input, const StepColumns& like);
  Columns combined(const Node& node, const StepColumns& a, const StepColumns& b);
  Columns scaled(const StepColumns& a, double factor, double added = 0) const;
  Columns activation(const Node& node);
  Columns clip(const Node& node);
  Columns applied(const StepColumns& to, const std::string& function, double alpha = 0,
                  double beta = 0);
  Columns multiplied(const StepColumns& x, ValueId matrix, bool transposed, double scale);
  Columns matmul(const Node& node);
  Columns gemm(const Node& node);
  Columns einsum(const Node& node);
  Columns slice(const Node& node);
  Columns concat(const Node& node);
  Columns squeeze(const Node& node) const;
  Columns unsqueeze(const Node& node) const;
  Columns reshape(const Node& node) const;
  Columns transpose(const Node& node) const;
  StepColumns part(const StepColumns& whole, int64_t begin, int64_t end);

  int64_t opset_;
  DType dtype_;
  ThreadPool& pool_;
  std::vector<StepInput> inputs_;
  std::vector<StepConstant> constants_;
  AtomTable atoms_;
  std::map<ValueId, Known> known_;
  size_t bytes_left_;
};

}  // namespace espalier
