#pragma once

#include <optional>
#include <string>
#include <vector>

#include "apps/espalier/calibration_cache.h"
#include "apps/espalier/prune_settings.h"
#include "lib/verify/packed_models.h"

namespace CLI {
class App;
}

namespace espalier {

/// Stages of prune that sweep shares; prune.cpp puts them in a row.

struct Calibration {
  CalibrationFeeds feeds;
  std::vector<Feed> apart;   ///< decide on the order of the layers; OrderData::apart
  bool apart_joins = false;  ///< they are the last ones of `feeds`, too
  bool again = false;        ///< OrderData::again
  bool shared = false;       ///< the checks have no inputs of their own
};

/// Of all feeds, and of those that are not `apart` where these join them.
struct CalibrationStatistics {
  std::optional<Statistics> all, others;
  double seconds = 0;  ///< that the runs took
  /// --cache, and what it has of scores by `all`; nothing without.
  std::shared_ptr<const CalibrationCache> cache = {};
  std::optional<ScoreStore> store = {};
};

/// Calibration inputs. Each tenth feed is left to the checks, where these have no inputs of their
/// own (`evaluation` is then changed to it), and to the choice of the order (of fewer than ten the
/// last one); if they do not judge, they calibrate, too.
Calibration calibration_feeds(const PruneSettings& settings, const Model& model,
                              const std::vector<Layer>& layers, EvaluationSource& evaluation);

/// Nothing without calibration. Collected on the model with its functions expanded.
/// With --cache what is there of an earlier run is taken from there.
CalibrationStatistics statistics_of(const PruneSettings& settings, const Model& model,
                                    const std::vector<Layer>& layers, const Calibration& calib);
/// Refers to both.
OrderData orders_of(const Calibration& calib, const CalibrationStatistics& statistics);

/// What is wrong with the metric, its program or its limits is told before any work. The metric of
/// the input, where it was measured for that.
std::optional<MetricPair> try_metric(const PruneSettings& settings, const Model& model,
                                     const Evaluation& evaluation);

/// The report's row of one layer.
LayerResult pruned_row(const PackedModels& models, const LayerPlan& plan,
                       const std::string& profile);

}  // namespace espalier
