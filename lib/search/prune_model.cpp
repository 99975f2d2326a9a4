#include "lib/search/prune_model.h"

#include "lib/base/log.h"
#include "lib/prune/choose/masks.h"
#include "lib/search/expected_times.h"
#include "lib/search/pruner.h"
#include "lib/search/value_types.h"

namespace espalier {

bool needs_meter(const PruneRequest& request) {
  return request.options.target.has_value() || !request.curve.empty();
}

// By given masks, at one sparsity, or at the sparsity that a target leads to.
PruneResult prune_model(const Model& model, const PruneRequest& request, const PruneData& data,
                        const Meter& meter, ThreadPool& pool) {
  PruneResult result;
  result.options = request.options;
  const PruneOptions& options = request.options;
  if (request.given_masks) {
    PrunePlan plan = plan_from_masks(model, options, request.masks);
    result.weights = weights_of_plan(model, std::move(plan), nullptr, data, pool);
    return result;
  }
  // Once, so that no scores are kept; prune_in_order and scans look at those.
  const bool in_order = options.sequential || !data.orders.apart.empty();
  const bool once =
      !needs_meter(request) && !options.schedule && !in_order && options.scope != "sensitivity";
  const ExpectedTimes times(model, options, data, pool.threads());
  Progress progress("prune", ExpectedSeconds{{times.score() + times.scan(), 0, times.weights()}});
  if (once) {
    PrunePlan plan;
    {
      const Stage stage("score");
      plan = plan_at_once(model, data.layers, options, pool, data.statistics, data.store);
    }
    progress.step(2);
    result.weights = weights_of_plan(model, std::move(plan), nullptr, data, pool);
    return result;
  }
  std::optional<Pruner> pruner;
  if (!options.schedule) pruner.emplace(model, options, data, pool);
  progress.step();
  const WeightsAt weights_at = [&](double sparsity) {
    return pruner ? pruner->at(sparsity) : prune_in_rounds(model, options, sparsity, data, pool);
  };
  if (!request.curve.empty()) {
    result.curve = curve(request.curve, weights_at, model, data.layers, options, meter, pool);
  }
  progress.step();
  if (!options.target) {
    result.weights = weights_at(options.sparsity);
    return result;
  }
  std::optional<ValueTypes> types;
  if (options.values == "auto") types.emplace(model, options, data, pool);
  Reached reached = reach(options, weights_at, meter, types ? &*types : nullptr, pool);
  result.options.sparsity = reached.sparsity;
  result.weights = std::move(reached.weights);
  result.curve.insert(result.curve.end(), reached.trials.begin(), reached.trials.end());
  result.reached = reached.best;
  result.dense = reached.dense;
  result.at_drops = std::move(reached.at_drops);
  if (types) result.type_feeds = types->feeds();
  return result;
}

}  // namespace espalier
