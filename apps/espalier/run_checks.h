#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/espalier/pack_job.h"
#include "lib/verify/model_runner.h"

namespace espalier {

/// What running the models of a job told.
struct RunChecks {
  std::string not_run;  ///< why nothing was run; then nothing else is set
  size_t samples = 0;
  bool random = false;             ///< inputs were random ones
  Comparison packed;               ///< packed against decoded
  std::optional<Comparison> cost;  ///< pruned against dense
  std::optional<MetricPair> metric;
  std::vector<std::optional<double>> output_errors;     ///< parallel to the job's layers
  std::vector<std::optional<double>> magnitude_errors;  ///< the same of job.magnitude, or empty

  /// Packed and decoded agree to rounding.
  bool agrees() const;
};

/// The feeds that a job is checked with, and why there are none.
struct CheckInputs {
  DataSet data;
  std::vector<Feed> feeds;
  bool random = false;
  std::string not_run;
};
/// Errors  those of the data that the user named; random inputs that cannot be made are `not_run`.
CheckInputs check_inputs(const PackJob& job, const CommonOptions& common);

/// Runs dense, decoded and packed. A model that fails on random inputs is `not_run`; on the user's
/// data it is an error.
RunChecks run_checks(const PackJob& job, const CheckInputs& inputs, const ExecutorOptions& options);

/// What was written and read back, against the packed model in memory; and its metric in the place
/// of the packed one's. Nothing where the runtime lacks an operator of it.
std::optional<Comparison> run_read_back(const PackJob& job, const Model& read,
                                        const CheckInputs& inputs, const ExecutorOptions& options,
                                        RunChecks& checks);

/// Equal to rounding: within the tolerance element by element, or relative to the largest.
bool agrees(const Comparison& comparison);

/// The labelled metric of a model over all feeds, which are named as in `reference`.
double labelled_metric_of(const Model& model, const Model& reference, const CheckInputs& inputs,
                          const LabelledMetric& wanted, const ExecutorOptions& options);

/// Times per layer and of the whole model.
struct SpeedChecks {
  double ms_dense = 0, ms_packed = 0;
  std::vector<std::optional<double>> layer_dense, layer_packed;
  std::vector<std::string> ran_dense;  ///< packed weights that run dense because that is quicker
};
/// Of the whole models alone, in turns on the first feed.
SpeedChecks time_whole(const Model& dense, const Model& packed, const Model& reference,
                       const CheckInputs& inputs, const ExecutorOptions& options);
SpeedChecks measure_speed(const PackJob& job, const CheckInputs& inputs,
                          const ExecutorOptions& options);

}  // namespace espalier
