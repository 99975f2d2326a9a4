#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lib/prune/choose/mask_arrays.h"
#include "lib/search/target.h"

namespace espalier {

/// What pruning is to make of a model, merged and checked.
struct PruneRequest {
  PruneOptions options;
  Masks masks;                ///< chosen already, instead of scores; empty: scores
  bool given_masks = false;   ///< `masks` is used, even an empty one
  std::vector<double> curve;  ///< sparsities to measure at, too
};

/// What pruning made of it.
struct PruneResult {
  PruneOptions options;  ///< with the sparsity that a target led to
  PrunedWeights weights;
  std::vector<CurvePoint> curve;
  std::optional<CurvePoint> reached;                    ///< what met the target
  std::optional<MetricPair> dense;                      ///< of a drop: the input's metric
  std::vector<std::pair<double, CurvePoint>> at_drops;  ///< Reached::at_drops
  size_t type_feeds = 0;  ///< on which narrower values were compared; 0: they were not
};

/// Prunes once, in rounds, to a target or by given masks, as `request` says. `meter` is looked at
/// for a target and for a curve only.
/// Errors  those of make_plan, plan_from_masks, reach and the meter.
PruneResult prune_model(const Model& model, const PruneRequest& request, const PruneData& data,
                        const Meter& meter, ThreadPool& pool);

/// Whether prune_model() looks at its meter.
bool needs_meter(const PruneRequest& request);

}  // namespace espalier
