#include "lib/prune/refit/apply_plan.h"

#include "lib/ir/deferred_weights.h"

namespace espalier {

Model apply_plan(const Model& model, const PrunePlan& plan, ThreadPool& pool) {
  std::vector<Layer> layers;
  std::vector<std::optional<std::variant<Tensor, SparseMatrix>>> weights;
  for (const LayerPlan& layer : plan.layers) {
    if (!layer.layer.left_out.empty()) continue;
    layers.push_back(layer.layer);
    weights.emplace_back(masked_or_deferred(weight_of(model, layer.layer), layer.layer.fold,
                                            layer.mask, layer.diagonal, pool));
  }
  return with_weights(model, layers, std::move(weights));
}

}  // namespace espalier
