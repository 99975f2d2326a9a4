#pragma once

#include <optional>
#include <vector>

#include "lib/prune/choose/scored_plan.h"
#include "lib/prune/refit/refit.h"
#include "lib/search/calibration.h"

namespace espalier {

/// A plan and the weights that it leaves.
struct PrunedWeights {
  PrunePlan plan;
  Model masked;
  std::vector<std::optional<RefittedBias>> biases;  ///< empty without a refit
  size_t rows_kept = 0;
};

/// What pruning looks at besides the model and its options. All of it outlives the work.
struct PruneData {
  std::vector<Layer> layers;                ///< select_layers() of the model: found once, handed on
  const Statistics* statistics = nullptr;   ///< null: without calibration
  const CalibrationFeeds* calib = nullptr;  ///< may hold no feeds where a file of statistics serves
  CollectOptions collect;
};

/// What a plan leaves of the weights, refitted where there are statistics; layer after layer with
/// plan.options.sequential, then with masks chosen anew where there is `scored`.
PrunedWeights weights_of_plan(const Model& model, PrunePlan plan, const ScoredPlan* scored,
                              const PruneData& data, ThreadPool& pool);

/// The model as plain magnitude leaves it (l2, each layer alike, nothing refitted): what the other
/// methods are compared with.
Model pruned_by_magnitude(const Model& model, const std::vector<Layer>& layers,
                          PruneOptions options, double sparsity, ThreadPool& pool);

}  // namespace espalier
