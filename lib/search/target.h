#pragma once

#include <functional>
#include <vector>

#include "lib/report/results.h"
#include "lib/search/pruned_weights.h"

namespace espalier {

/// What packed models would be if they were written. Whoever knows about files and programs gives
/// the functions; those that a search does not need may be empty.
struct Meter {
  std::function<uint64_t(const Model& packed)> bytes;       ///< of the file
  std::function<double(const Model& packed)> milliseconds;  ///< of a run, measured or predicted
  std::function<double(const Model& packed)> metric;
  std::function<MetricPair()> dense;  ///< the metric of the input
  /// The metric of both with the interval of its drop; empty where there are no samples to resample.
  std::function<MetricPair(const Model& packed)> judged = {};
  /// Adds to a trial what the search itself did not need: size and time, where they can be had. May
  /// be empty.
  std::function<void(const Model& packed, CurvePoint& point)> complete = {};
};

/// The pruned model of any sparsity.
using WeightsAt = std::function<PrunedWeights(double sparsity)>;

/// The sparsity that a target asks for, and what is left at it.
struct Reached {
  double sparsity = 0;
  PrunedWeights weights;
  std::vector<CurvePoint> trials;   ///< in the order of the search
  CurvePoint best;                  ///< the one of `sparsity`
  std::optional<MetricPair> dense;  ///< of a drop: the input's metric
  /// Of a drop: which trial would do for each of these shares of the metric.
  std::vector<std::pair<double, CurvePoint>> at_drops;
};

class ValueTypes;

/// Halves the range in which the sparsity of options.target lies until that is known to 0.4 %: the least
/// whose file is no larger, or whose time no longer, than asked for; of a drop as reach_drop(), with
/// `types` to choose among where they are not null. What is returned was measured to meet the
/// target.
/// Errors  Fault::kUnsupported: 98 % sparsity misses the target too, or no sparsity at all does.
Reached reach(const PruneOptions& options, const WeightsAt& weights_at, const Meter& meter,
              const ValueTypes* types, ThreadPool& pool);

/// Metric and size at each of `levels`, next to those of plain magnitude (pruned_by_magnitude).
std::vector<CurvePoint> curve(const std::vector<double>& levels, const WeightsAt& weights_at,
                              const Model& model, const std::vector<Layer>& layers,
                              const PruneOptions& options, const Meter& meter, ThreadPool& pool);

}  // namespace espalier
