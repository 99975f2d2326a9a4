#include "lib/search/pruned_weights.h"

#include "lib/base/log.h"
#include "lib/calibrate/sequential.h"
#include "lib/prune/refit/apply_plan.h"

namespace espalier {
namespace {

// Feeds run through two models side by side.
MakePairedPass paired_pass(const CalibrationFeeds& calib, size_t threads) {
  return [&calib, threads](const Model& unchanged, const Model& changed) -> PairedPass {
    return [&, threads](ProductObserver& a, ProductObserver& b, const std::function<void()>& fed) {
      Executor first(unchanged, {.threads = threads, .observer = &a});
      Executor second(changed, {.threads = threads, .observer = &b});
      FeedRunner one(first, unchanged, calib.data.states), two(second, changed, calib.data.states);
      for (const Feed& feed : calib.feeds) {
        one.run(feed);
        two.run(feed);
        fed();
      }
    };
  };
}

std::vector<std::string> state_outputs(const DataSet& data) {
  std::vector<std::string> names;
  for (const auto& [input, output] : data.states) names.push_back(output);
  return names;
}

}  // namespace

PrunedWeights weights_of_plan(const Model& model, PrunePlan plan, const ScoredPlan* scored,
                              const PruneData& data, ThreadPool& pool) {
  if (data.statistics == nullptr || !plan.options.refit) {
    Model masked = apply_plan(model, plan, pool);
    return {std::move(plan), std::move(masked), {}, 0};
  }
  const Stage stage("refit");
  Refitted refitted = refit(model, plan, *data.statistics, pool);
  if (plan.options.sequential) {
    const SequentialOptions options{data.collect, state_outputs(data.calib->data)};
    prune_in_order(model, scored, plan, refitted, paired_pass(*data.calib, data.collect.threads),
                   options, pool);
  }
  return {std::move(plan), std::move(refitted.model), std::move(refitted.biases),
          refitted.rows_kept};
}

Model pruned_by_magnitude(const Model& model, const std::vector<Layer>& layers,
                          PruneOptions options, double sparsity, ThreadPool& pool) {
  options.method = "l2";
  options.scope = "layer";
  options.refit = false;
  options.sequential = false;
  options.sparsity = sparsity;
  for (LayerRule& rule : options.rules) rule.options.method.reset();
  return apply_plan(model, plan_at_once(model, layers, options, pool, nullptr), pool);
}

}  // namespace espalier
