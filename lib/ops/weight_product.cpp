#include "lib/ops/weight_product.h"

#include <utility>

#include "lib/kernels/dense/dense.h"
#include "lib/kernels/sparse/packed_or_dense.h"
#include "lib/kernels/sparse_product.h"
#include "lib/ops/op_util.h"

namespace espalier {
namespace {

// oneDNN wants [outputs, inputs]; a transposed part is turned round.
SharedProduct dense_product(const float* weight, const Fold& fold, size_t first, size_t count) {
  const float* parts = weight + first * fold.rows * fold.cols;
  if (!fold.transposed) return prepare_dense(parts, count * fold.rows, fold.cols);
  std::vector<float> turned(count * fold.rows * fold.cols);
  const auto rows = static_cast<int64_t>(fold.rows), cols = static_cast<int64_t>(fold.cols);
  const Dims dims{static_cast<int64_t>(count), rows, cols};
  copy_strided(sizeof(float), dims, reinterpret_cast<const std::byte*>(parts),
               {rows * cols, 1, rows}, reinterpret_cast<std::byte*>(turned.data()),
               row_major(dims));
  return prepare_dense(turned.data(), count * fold.rows, fold.cols);
}

std::shared_ptr<WeightProducts::Made> make(const Fold& fold, WeightProducts::Pieces pieces,
                                           const auto& product) {
  auto made = std::make_shared<WeightProducts::Made>();
  made->fold = fold;
  for (const auto& [first, count] : pieces(fold)) {
    made->products.push_back(product(first, count));
  }
  return made;
}

}  // namespace

SharedProduct product_of(const Weight& weight, const Fold& fold, size_t first, size_t count,
                         bool exact) {
  if (weight.is_sparse()) {
    return prepare_sparse_parts(weight.sparse(), first, count, /*plain=*/false, exact);
  }
  if (!is_float(weight.dtype()) || weight.dtype() == DType::kF64) unsupported_type(weight.dtype());
  const Tensor values = as_f32(weight.dense());
  return dense_product(values.data<float>().data(), fold, first, count);
}

SharedProduct product_of(const TensorView& weight, const Fold& fold, size_t first, size_t count) {
  if (weight.dtype != DType::kF32) unsupported_type(weight.dtype);
  return dense_product(weight.data<float>(), fold, first, count);
}

namespace {

// Each piece packed or dense, whatever is quicker.
void choose_kernels(const SparseMatrix& weight, const std::vector<WeightProducts::Piece>& pieces,
                    bool exact, const RanDense& flag, const MeasuredChoice& measured,
                    std::vector<SharedProduct>& products) {
  for (size_t i = 0; i < pieces.size(); ++i) {
    const SparseMatrix part = parts_of(weight, pieces[i].first, pieces[i].count);
    products[i] =
        packed_or_dense(prepare_sparse(part, /*plain=*/false, exact), part, flag, measured);
  }
}

}  // namespace

WeightProducts::WeightProducts(const PrepareContext& context, size_t input, Pieces pieces,
                               bool choose)
    : node_(std::make_shared<Node>(context.node)),
      entry_(find_operator(context.node.op, context.node.domain)),
      input_(input),
      pieces_(pieces) {
  const Weight* weight = context.constant(input);
  if (weight == nullptr) return;
  const std::optional<Fold> fold = entry_->fold(*node_, input, weight->shape());
  if (!fold) return;  // an empty or misshapen weight: get() says so when it runs
  const auto made = make(*fold, pieces_, [&](size_t first, size_t count) {
    return product_of(*weight, *fold, first, count, context.exact_values);
  });
  if (weight->is_sparse() && choose && !context.always_packed)
    choose_kernels(weight->sparse(), pieces_(*fold), context.exact_values,
                   context.may_run_dense(input), context.measured, made->products);
  if (const std::optional<size_t> number = context.watched(input)) {
    const std::vector<Piece> seen = pieces_(*fold);
    for (size_t i = 0; i < seen.size(); ++i) {
      made->products[i] = observed(made->products[i], *context.observer, *number, seen[i].first,
                                   seen[i].count, fold->cols);
    }
  }
  made_ = made;
  size_t bytes = 0;
  for (const SharedProduct& product : made_->products) bytes += product->bytes();
  context.replaces(input, bytes);
}

std::shared_ptr<const WeightProducts::Made> WeightProducts::get(const RunContext& run) const {
  if (made_ != nullptr) return made_;
  const TensorView& weight = run.input(input_);
  const std::optional<Fold> fold = entry_->fold(*node_, input_, weight.dims.shape());
  if (!fold) fail("a weight of shape {} does not match", to_string(weight.dims));
  return make(*fold, pieces_,
              [&](size_t first, size_t count) { return product_of(weight, *fold, first, count); });
}

}  // namespace espalier
