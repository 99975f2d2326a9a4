#include "lib/search/pruner.h"

#include "lib/base/log.h"
#include "lib/prune/options/layer_rule.h"
#include "lib/search/expected_times.h"
#include "lib/search/sensitivity_scan.h"

namespace espalier {

Pruner::Pruner(const Model& model, const PruneOptions& options, const PruneData& data,
               ThreadPool& pool)
    : model_(model), data_(data), pool_(pool) {
  const ExpectedTimes times(model, options, data, pool.threads());
  Progress progress("scores", ExpectedSeconds{{times.score(), times.scan()}});
  // Blocks that were chosen by the feeds apart, too, would look better on these than they are.
  const WithoutApart others(data);
  const PruneData& seen = data.orders.again ? data : others.data();
  {
    const Stage stage("score");
    scored_ = score_plan(model, seen.layers, options, pool, seen.statistics, seen.store);
  }
  progress.step();
  if (options.scope == "sensitivity") scan_sensitivity(model, seen, scored_, pool);
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
  CalibrationGaps told;  // of the dense model
  Progress progress("rounds", schedule.steps + 1);
  for (uint32_t step = 1; step <= schedule.steps; ++step, progress.step()) {
    const double share = scheduled_sparsity(schedule, sparsity, step);
    const ExpectedTimes times(model, options, data, pool.threads());
    const double calibration = step == 1 ? 0 : data.pass_seconds;
    Progress parts("round",
                   ExpectedSeconds{{calibration, times.score() + times.scan(), times.weights()}});
    PruneData seen = data;
    seen.store = nullptr;  // but of the first, rounds score another model
    std::optional<Statistics> statistics;
    if (step > 1 && data.statistics != nullptr) {
      // The same layers: a selection looks at names and shapes, never at values.
      statistics = calibrate(current.masked, data.layers, data.calib->data, data.calib->feeds,
                             data.collect, &told);
      seen.statistics = &*statistics;
    }
    parts.step();
    const Model left = step == 1 ? model : std::move(current.masked);
    const Pruner pruner(left, options, seen, pool);
    parts.step();
    current = pruner.at(share);
  }
  // Rounds choose blocks; weights that came through all of them would have drifted off with each.
  return weights_of_plan(model, std::move(current.plan), nullptr, data, pool);
}

}  // namespace espalier
