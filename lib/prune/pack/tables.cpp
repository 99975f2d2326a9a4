#include "lib/prune/pack/tables.h"

#include <fmt/format.h>

#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/ir/deferred_weights.h"
#include "lib/sparse/pack.h"
#include "lib/tensor/dtype.h"

namespace espalier {
namespace {

using Stored = std::variant<Tensor, SparseMatrix>;

constexpr size_t kWidestBlock = 4096;

std::optional<DType> narrow_type(std::string_view values, DType own) {
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kI8}) {
    if (values == name_of(dtype) && bytes_of(dtype) < bytes_of(own)) return dtype;
  }
  return std::nullopt;
}

// One block in a row, of its share of the columns where these are more than a block can have.
Stored narrowed(const Tensor& dense, const Fold& fold, DType values, ThreadPool& pool) {
  const size_t width = ceil_div(fold.cols, ceil_div(fold.cols, kWidestBlock));
  const BlockMask mask =
      nonzero_blocks(dense.held(), fold, {1, static_cast<uint32_t>(width)}, false);
  return rounded_or_deferred(packed_or_deferred(dense, fold, mask, false, pool), values);
}

// As select_layers leaves them out.
bool is_dense_table(const Layer& layer, const Weight& weight) {
  return layer.op == "Gather" && !layer.left_out.empty() && layer.shape.size() > 1 &&
         layer.fold.count() != 0 && is_float(weight.dtype()) && !weight.is_sparse();
}

}  // namespace

Model with_narrow_tables(const Model& model, const std::vector<Layer>& layers,
                         std::string_view values, ThreadPool& pool) {
  std::vector<Layer> tables;
  std::vector<const Weight*> from;
  for (const Layer& layer : layers) {
    const Weight* weight = stored_weight(model, layer);
    if (weight == nullptr || !is_dense_table(layer, *weight)) continue;
    const auto type = narrow_type(values, weight->dtype());
    if (!type) continue;
    constexpr size_t kLeastGain = 1024;  // what decodes it in a file takes bytes too
    const size_t narrower = bytes_of(weight->dtype()) - bytes_of(*type);
    if (narrower * layer.fold.count() < kLeastGain) continue;
    tables.push_back(layer);
    from.push_back(weight);
  }
  if (tables.empty()) return model;
  std::vector<std::optional<Stored>> weights(tables.size());
  const auto narrow = [&](size_t i) {
    const DType own = from[i]->dtype();
    try {
      weights[i] = narrowed(from[i]->dense(), tables[i].fold, *narrow_type(values, own), pool);
    } catch (const Error& error) {
      if (error.fault() != Fault::kFormat) throw;
      warn(fmt::format("{}: {}: the table stays {}", printable(tables[i].weight), error.what(),
                       name_of(own)));
    }
  };
  for_each_weight(from, narrow, pool);
  return with_weights(model, tables, std::move(weights));
}

}  // namespace espalier
