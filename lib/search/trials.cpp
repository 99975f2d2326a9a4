#include "lib/search/trials.h"

#include "lib/prune/pack/pack_weights.h"

namespace espalier {

Trials::Trials(const WeightsAt& weights_at, const Meter& meter, const ValueTypes* types,
               ThreadPool& pool)
    : weights_at_(weights_at), meter_(meter), types_(types), pool_(pool), progress_("search", 14) {}

bool Trials::attempt(double sparsity, size_t level, const Aim& aim) {
  PrunedWeights weights = weights_at_(sparsity);
  if (types_ != nullptr) types_->set(level, weights.plan);
  const Model packed = pack_weights(weights.masked, weights.plan, pool_);
  CurvePoint& point = reached_.trials.emplace_back();
  point.sparsity = sparsity;
  if (types_ != nullptr) point.values = stored_types(packed, weights.plan.layers);
  last_ = aim.measure(packed, point);
  if (meter_.complete) meter_.complete(packed, point);
  const bool met = aim.meets(last_);
  taken_ = met && (!any_ || !aim.better || aim.better(packed, point));
  if (taken_) {
    any_ = true;
    reached_.sparsity = sparsity;
    reached_.weights = std::move(weights);
    reached_.best = point;
  }
  progress_.step();
  return met;
}

Model Trials::best_packed(size_t level) const {
  PrunePlan plan = reached_.weights.plan;
  types_->set(level, plan);
  return pack_weights(reached_.weights.masked, plan, pool_);
}

}  // namespace espalier
