#pragma once

#include <memory>

#include "lib/kernels/product.h"
#include "lib/ops/operator.h"

namespace espalier {

using SharedProduct = std::shared_ptr<const Product>;

/// Parts first .. first + count - 1 of a weight that folds by `fold`, as one product whose outputs
/// are the parts' rows, stacked. A packed weight (whose own fold must be that) goes to the sparse
/// kernels, a dense one (f32, f16, bf16) to oneDNN. `exact` as in prepare_sparse.
SharedProduct product_of(const Weight& weight, const Fold& fold, size_t first, size_t count,
                         bool exact = false);

/// The same for a weight that is known only while the model runs.
SharedProduct product_of(const TensorView& weight, const Fold& fold, size_t first, size_t count);

/// A weight input of a node, in pieces of `count` parts from each of `firsts`: made once where the
/// input is a constant (and reported to the context), else at each run.
class WeightProducts {
 public:
  struct Piece {
    size_t first, count;
  };
  using Pieces = std::vector<Piece> (*)(const Fold& fold);

  /// A packed weight runs dense where that is quicker, unless the context or `choose` forbids.
  WeightProducts(const PrepareContext& context, size_t input, Pieces pieces, bool choose = true);

  /// The pieces in order, and how the weight folds.
  struct Made {
    Fold fold;
    std::vector<SharedProduct> products;
  };
  /// Errors  Fault::kFormat where the weight's shape does not fit the operator.
  std::shared_ptr<const Made> get(const RunContext& run) const;

 private:
  std::shared_ptr<const Node> node_;
  const Operator* entry_;
  size_t input_;
  Pieces pieces_;
  std::shared_ptr<const Made> made_;
};

}  // namespace espalier
