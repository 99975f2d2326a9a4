#include "lib/search/pruner.h"

#include "lib/base/log.h"
#include "lib/prune/options/layer_rule.h"
#include "lib/search/sensitivity_scan.h"

namespace espalier {

Pruner::Pruner(const Model& model, const PruneOptions& options, const PruneData& data,
               ThreadPool& pool)
    : model_(model), data_(data), pool_(pool) {
  {
    const Stage stage("score");
    scored_ = score_plan(model, data.layers, options, pool, data.statistics);
  }
  if (options.scope == "sensitivity") scan_sensitivity(model, data, scored_, pool);
}

PrunedWeights Pruner::at(double sparsity) const {
  return weights_of_plan(model_, choose_plan(scored_, sparsity, pool_), &scored_, data_, pool_);
}

// One round per step of the schedule; the masks of the last one are then refitted to the dense
// weights.
PrunedWeights prune_in_rounds(const Model& model, const PruneOptions& options, double sparsity,
                              const PruneData& data, ThreadPool& pool) {
  const Schedule& schedule = *options.schedule;
  PrunedWeights current;
  Progress progress("rounds", schedule.steps);
  for (uint32_t step = 1; step <= schedule.steps; ++step, progress.step()) {
    const double share = scheduled_sparsity(schedule, sparsity, step);
    if (step == 1) {
      current = Pruner(model, options, data, pool).at(share);
      continue;
    }
    PruneData again = data;
    std::optional<Statistics> statistics;
    if (data.statistics != nullptr) {
      // The same layers: a selection looks at names and shapes, never at values.
      statistics =
          calibrate(current.masked, data.layers, data.calib->data, data.calib->feeds, data.collect);
      again.statistics = &*statistics;
    }
    const Model left = std::move(current.masked);
    current = Pruner(left, options, again, pool).at(share);
  }
  // Rounds choose blocks; weights that came through all of them would have drifted off with each.
  return weights_of_plan(model, std::move(current.plan), nullptr, data, pool);
}

}  // namespace espalier
