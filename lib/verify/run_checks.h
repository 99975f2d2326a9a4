#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lib/verify/compare.h"
#include "lib/verify/evaluation.h"
#include "lib/verify/packed_models.h"

namespace espalier {

/// What running the models told.
struct RunChecks {
  std::string not_run;  ///< why nothing was run; then nothing else is set
  size_t samples = 0;
  bool random = false;  ///< inputs were random ones
  Comparison packed;    ///< packed against decoded
  /// Where these are further apart than rounding mostly is: decoded against itself, without passes
  /// over the graph, whose sums have another order.
  std::optional<Comparison> rounding;
  std::optional<Comparison> cost;  ///< pruned against dense
  std::optional<MetricPair> metric;
  std::vector<std::optional<double>> output_errors;     ///< parallel to the layers
  std::vector<std::optional<double>> magnitude_errors;  ///< the same of `magnitude`, or empty
};

/// Whether packed and decoded weights compute the same but for rounding: within its default, or by
/// no more than four times what the model makes of another order of sums.
bool equal_to_rounding(const RunChecks& checks);

/// Runs dense, decoded and packed. A model that fails on random inputs is `not_run`; on the user's
/// data it is an error.
RunChecks run_checks(const PackedModels& models, const Evaluation& evaluation,
                     const ExecutorOptions& options);

/// What was written and read back, against the packed model in memory.
struct ReadBackRun {
  Comparison comparison;
  std::optional<double> metric;
};
/// Nothing where the runtime lacks an operator of it.
std::optional<ReadBackRun> run_read_back(const PackedModels& models, const Model& read,
                                         const Evaluation& evaluation,
                                         const ExecutorOptions& options);

}  // namespace espalier
