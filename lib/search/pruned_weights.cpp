#include "lib/search/pruned_weights.h"

#include "lib/base/log.h"
#include "lib/calibrate/sequential.h"
#include "lib/calibrate/token_mask.h"
#include "lib/prune/refit/apply_plan.h"

namespace espalier {
namespace {

// Feeds run through two models side by side.
MakePairedPass paired_pass(const CalibrationFeeds& calib, size_t threads) {
  return [&calib, threads](const Model& unchanged, const Model& changed) -> PairedPass {
    return [&, threads](ProductObserver& a, ProductObserver& b, const std::function<void()>& fed) {
      TokenMask masked_a(a, unchanged), masked_b(b, changed);
      const bool mask = !calib.data.token_mask.empty();
      Executor first(unchanged, {.threads = threads, .observer = mask ? &masked_a : &a});
      Executor second(changed, {.threads = threads, .observer = mask ? &masked_b : &b});
      FeedRunner one(first, unchanged, calib.data.states), two(second, changed, calib.data.states);
      for (const Feed& feed : calib.feeds) {
        if (mask) {
          masked_a.set(mask_of(feed, calib.data.token_mask));
          masked_b.set(mask_of(feed, calib.data.token_mask));
        }
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
