#pragma once

#include <optional>
#include <vector>

#include "lib/prune/choose/scored_plan.h"
#include "lib/prune/refit/refit.h"
#include "lib/search/calibration.h"

namespace espalier {

/// Layers pruned all at once against one after the other: which came nearer to the dense outputs.
struct OrderChoice {
  bool in_order = false;            ///< one after the other won
  double at_once = 0, in_turn = 0;  ///< relative change of the outputs by each
  size_t feeds = 0;                 ///< on which that was measured; neither way had seen them
};

/// A plan and the weights that it leaves.
struct PrunedWeights {
  PrunePlan plan;
  Model masked;
  std::vector<std::optional<RefittedBias>> biases;  ///< empty without a refit
  size_t rows_kept = 0;
  std::optional<OrderChoice> order;  ///< where OrderData::apart decided
};

/// Feeds that decide whether layers are pruned in order, where plan.options.sequential does not say
/// so already. None: they are pruned at once.
struct OrderData {
  std::vector<Feed> apart;
  /// Of all feeds but those, if they are the last ones of PruneData::calib, too: then the two orders
  /// are compared by what they make of the others, and what wins is refitted by all (in order:
  /// where that is cheap). Null: calibration does not see them.
  const Statistics* others = nullptr;
  bool again = false;  ///< feeds are few: in order, blocks are chosen by all, too
};

/// What pruning looks at besides the model and its options. All of it outlives the work.
struct PruneData {
  std::vector<Layer> layers;                ///< select_layers() of the model: found once, handed on
  const Statistics* statistics = nullptr;   ///< null: without calibration
  const CalibrationFeeds* calib = nullptr;  ///< may hold no feeds where a file of statistics serves
  CollectOptions collect;
  OrderData orders = {};
  const ScoreStore* store = nullptr;  ///< of scores of the model by what they are chosen by
  double pass_seconds = 0;            ///< that collecting the statistics took; 0: unknown
  /// What outputs are compared on where `calib` holds no feeds: by narrower values alone.
  const CalibrationFeeds* others = nullptr;
};

/// The same data with the feeds and statistics of calibration without OrderData::apart, where these
/// are among them.
class WithoutApart {
 public:
  explicit WithoutApart(const PruneData& data);
  WithoutApart(const WithoutApart&) = delete;
  const PruneData& data() const { return data_; }

 private:
  PruneData data_;
  CalibrationFeeds fewer_;
};

/// What a plan leaves of the weights, refitted where there are statistics; layer after layer with
/// plan.options.sequential (or where OrderData::apart decide for it), then with masks chosen anew
/// where there is `scored`.
PrunedWeights weights_of_plan(const Model& model, PrunePlan plan, const ScoredPlan* scored,
                              const PruneData& data, ThreadPool& pool);

/// The model as plain magnitude leaves it (l2, each layer alike, nothing refitted): what the other
/// methods are compared with.
Model pruned_by_magnitude(const Model& model, const std::vector<Layer>& layers,
                          PruneOptions options, double sparsity, ThreadPool& pool);

}  // namespace espalier
