#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "apps/espalier/prune_work.h"
#include "apps/espalier/run_checks.h"
#include "apps/espalier/time_predictor.h"
#include "lib/base/temporaries.h"

namespace espalier {

/// What models would be if they were written: their file, their time, their metric.
class CandidateMeter {
 public:
  /// `job` is as it is before pruning; it outlives the meter.
  /// `machine`: a file of `bench --kernels --json` by which milliseconds() predicts, "" to measure.
  /// Errors  as check_inputs.
  CandidateMeter(const PackJob& job, const CommonOptions& common, const std::string& machine = {});
  CandidateMeter(const CandidateMeter&) = delete;
  CandidateMeter& operator=(const CandidateMeter&) = delete;

  /// Size of the file or folder that job.output would be.
  uint64_t bytes(const Model& packed) const;
  /// Median of runs, interleaved with the dense model, on the first feed; or what is predicted.
  double milliseconds(const Model& packed) const;
  /// That of --labels, else the number of --metric-cmd.
  /// Errors  Fault::kUsage: neither is given.
  double metric(const Model& packed) const;
  /// metric() of the input, found once.
  const MetricPair& dense() const;
  /// Whether there is a metric at all.
  bool has_metric() const;

 private:
  const PackJob& job_;
  ExecutorOptions options_;
  CheckInputs inputs_;
  std::optional<TimePredictor> predictor_;
  std::optional<LabelledMetric> labelled_;
  HeldFolder folder_;
  mutable std::optional<MetricPair> dense_;
};

/// The pruned model of any sparsity.
using WeightsAt = std::function<PrunedWeights(double sparsity)>;

/// The sparsity that a target asks for, and what is left at it.
struct Reached {
  double sparsity = 0;
  PrunedWeights weights;
  std::vector<CurvePoint> trials;  ///< in the order of the search
  std::string note;
};

/// Halves the range in which the target's sparsity lies until that is known to 0.4 %: the least
/// whose file is no larger, or whose time no longer, than asked for; of a drop, the largest whose
/// metric lost no more. What is returned was measured to meet the target.
/// Errors  Fault::kUnsupported: 98 % sparsity misses the target too.
Reached reach(const PruneTarget& target, const WeightsAt& weights_at, const CandidateMeter& meter,
              ThreadPool& pool);

/// Metric and size at each of `levels`, next to those of plain magnitude: l2, each layer alike,
/// nothing refitted.
std::vector<CurvePoint> curve(const std::vector<double>& levels, const WeightsAt& weights_at,
                              const Model& model, const PruneOptions& options,
                              const CandidateMeter& meter, ThreadPool& pool);

/// The model as plain magnitude leaves it: what the other methods are compared with.
Model pruned_by_magnitude(const Model& model, PruneOptions options, double sparsity,
                          ThreadPool& pool);

}  // namespace espalier
