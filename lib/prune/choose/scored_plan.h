#pragma once

#include <span>
#include <vector>

#include "lib/prune/choose/choose_blocks.h"
#include "lib/prune/choose/plan.h"
#include "lib/prune/choose/score_store.h"
#include "lib/prune/options/layer_settings.h"
#include "lib/prune/score/statistics.h"

namespace espalier {

/// What make_plan finds before it chooses: masks of any sparsity follow without scoring again.
/// Vectors are parallel to plan.layers, whose masks are empty.
struct ScoredPlan {
  PrunePlan plan;
  std::vector<LayerSettings> settings;
  std::vector<BlockScores> scores;   ///< of layers left out: none
  std::vector<bool> shared;          ///< chosen under one threshold with the others
  bool distances = false;            ///< shared scores are distances (scores_to_distances)
  std::vector<std::string> made_of;  ///< what a ScoreStore calls the scores; of cheap ones ""
};

/// Errors  as make_plan. `layers`: select_layers() of the model with options.select. `store`: where
/// scores that take calibration are looked for and kept; null: nowhere.
ScoredPlan score_plan(const Model& model, const std::vector<Layer>& layers,
                      const PruneOptions& options, ThreadPool& pool, const Statistics* statistics,
                      const ScoreStore* store = nullptr);

/// About how many multiply-adds that takes each layer. Errors  those of layer_settings().
std::vector<double> scoring_costs(const std::vector<Layer>& layers, const PruneOptions& options);

/// Scores and chooses layer by layer: what choose_plan makes of score_plan at options.sparsity, but
/// scores that are not compared with those of other layers are not kept.
PrunePlan plan_at_once(const Model& model, const std::vector<Layer>& layers,
                       const PruneOptions& options, ThreadPool& pool, const Statistics* statistics,
                       const ScoreStore* store = nullptr);

/// make_plan's second half: `sparsity` is that of all layers without a target of their own.
PrunePlan choose_plan(const ScoredPlan& scored, double sparsity, ThreadPool& pool);

/// The plans of these layers, of one method and block shape, that reach `sparsity` together.
std::vector<LayerPlan> choose_together(const ScoredPlan& scored, std::span<const size_t> indices,
                                       double sparsity, ThreadPool& pool);

/// Layer `index` of `scored` with a mask by other statistics and as many zeros as `chosen` has;
/// `chosen` itself where its method needs none, or where they lack the layer. `centred`: its bias
/// is refitted.
LayerPlan choose_again(const Model& model, const ScoredPlan& scored, const LayerPlan& chosen,
                       size_t index, const Statistics& statistics, bool centred, ThreadPool& pool);

}  // namespace espalier
