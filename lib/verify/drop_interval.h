#pragma once

#include <string>
#include <vector>

#include "lib/verify/metric.h"

namespace espalier {

/// What two models gave for the same samples, `a` the one before.
struct OutputPair {
  const std::vector<Feed>&a, &b;
  std::string output;  ///< that the metric looks at
};

/// The metric of both, and between which values its drop lies for 95 % of the sets that are drawn
/// from the samples with replacement, both models' outputs for the same ones (paired bootstrap,
/// percentiles of at most 1000 sets; the same numbers each time). No interval for one sample.
/// Errors  as metric().
MetricPair metric_with_interval(const LabelledMetric& metric, const OutputPair& outputs);

}  // namespace espalier
