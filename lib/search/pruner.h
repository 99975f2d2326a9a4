#pragma once

#include "lib/search/pruned_weights.h"

namespace espalier {

/// All that stays the same while one model is pruned to one sparsity after another.
class Pruner {
 public:
  /// Scores all layers. With scope sensitivity the model runs with each layer pruned alone.
  /// All arguments outlive it. Errors  as make_plan; those of the runs.
  Pruner(const Model& model, const PruneOptions& options, const PruneData& data, ThreadPool& pool);

  /// Chooses blocks and refits what is kept.
  PrunedWeights at(double sparsity) const;

 private:
  const Model& model_;
  const PruneData& data_;
  ThreadPool& pool_;
  ScoredPlan scored_;
};

/// Prunes to one sparsity after another along plan.options.schedule, each time what the round
/// before left, with statistics of that. `data.statistics` are of `model`. Errors  as Pruner.
PrunedWeights prune_in_rounds(const Model& model, const PruneOptions& options, double sparsity,
                              const PruneData& data, ThreadPool& pool);

}  // namespace espalier
