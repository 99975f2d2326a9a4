#pragma once

#include "lib/verify/compare.h"
#include "lib/verify/evaluation.h"

namespace espalier {

/// What running two models side by side told.
struct ModelComparison {
  Comparison outputs;  ///< b against a
  Comparison packed;   ///< packed b against decoded b; no outputs where b is dense
  Comparison passes;   ///< each model with passes over the graph against itself without
  std::optional<MetricPair> metric;
};

/// Runs both models (same input and output names, else by position) on the feeds, which are named
/// as in `a`. i8 values are multiplied exactly, but for the metric, which is that of a normal run.
/// Errors  Fault::kUnsupported: operators that the runtime lacks; those of the runs.
ModelComparison compare_runs(const Model& a, const Model& b, const Evaluation& evaluation,
                             Tolerance tolerance, const ExecutorOptions& options);

}  // namespace espalier
