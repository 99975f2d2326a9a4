#pragma once

#include <optional>
#include <vector>

#include "lib/calibrate/sequential.h"
#include "lib/prune/choose/scored_plan.h"
#include "lib/prune/choose/sensitivity.h"
#include "lib/prune/refit/refit.h"
#include "lib/verify/data.h"

namespace espalier {

/// What --calib names: inputs, or none where it is a file of statistics.
struct CalibrationFeeds {
  DataSet data;
  std::vector<Feed> feeds;
};

/// A plan and the weights that it leaves.
struct PrunedWeights {
  PrunePlan plan;
  Model masked;
  std::vector<std::optional<RefittedBias>> biases;  ///< empty without a refit
  size_t rows_kept = 0;
};

/// What pruning looks at besides the model. `statistics` null: without calibration; `feeds` may be
/// empty where a file of statistics serves.
struct PruneData {
  const Statistics* statistics = nullptr;
  const CalibrationFeeds* calib = nullptr;
  CollectOptions collect;
};

/// What a plan leaves of the weights, refitted where there are statistics; layer after layer with
/// plan.options.sequential, then with masks chosen anew where there is `scored`.
PrunedWeights weights_of_plan(const Model& model, PrunePlan plan, const ScoredPlan* scored,
                              const PruneData& data, ThreadPool& pool);

/// Prunes to one sparsity after another along plan.options.schedule, each time what the round
/// before left, with statistics of that. `data.statistics` are of `model`.
/// Errors  as PruneWork.
PrunedWeights prune_in_rounds(const Model& model, const PruneOptions& options, double sparsity,
                              const PruneData& data, ThreadPool& pool);

/// All that stays the same while one model is pruned to one sparsity after another.
class PruneWork {
 public:
  /// Scores all layers. With scope sensitivity the model runs with each layer pruned alone.
  /// All arguments outlive it.
  /// Errors  as make_plan; those of the runs.
  PruneWork(const Model& model, const PruneOptions& options, const PruneData& data,
            ThreadPool& pool);

  /// Chooses blocks and refits what is kept.
  PrunedWeights at(double sparsity) const;

  const ScoredPlan& scored() const { return scored_; }

 private:
  void scan();
  SensitivityPoint scan_one(size_t index, double sparsity, const Statistics& statistics,
                            const std::vector<Feed>& feeds, const std::vector<Feed>& outputs) const;

  const Model& model_;
  const PruneOptions& options_;
  PruneData data_;
  ThreadPool& pool_;
  ScoredPlan scored_;
};

}  // namespace espalier
