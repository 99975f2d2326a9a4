#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/runtime/executor.h"

namespace espalier {

/// Metrics of one output over all feeds, joined along the first axis, against labels or reference
/// values (first axis = samples). top1, top5: the last axis of the output is the classes; labels of
/// any integer type, -1 ignored. auc: area under the ROC curve, ties count half, labels 1/0, -1
/// ignored. cosine (mean over the samples), snr (dB), mse: labels of the output's size.
/// Errors  Fault::kUsage: an unknown name; Fault::kFormat: labels that do not fit, naming sizes.
double metric(const std::string& name, const std::vector<Feed>& outputs,
              const std::string& output_name, const Tensor& labels);
std::vector<std::string> metric_names();

/// The metric of some of the samples: `times`, one for each, says how often it counts. NaN where
/// these samples have none.
using SampleScorer = std::function<double(std::span<const uint32_t> times)>;
/// Errors  as metric().
SampleScorer sample_scorer(const std::string& name, const std::vector<Feed>& outputs,
                           const std::string& output_name, const Tensor& labels);

/// By how much `after` is worse than `before`, in the metric's unit: mse is better where it is
/// lower, all others where they are higher; so is a metric that is not among metric_names().
double metric_drop(const std::string& name, double before, double after);
/// The drop that still counts as accuracy kept: 1 % of `before`; snr and mse: 0.3 dB.
double tolerated_drop(const std::string& name, double before);
std::string tolerated_text(const std::string& name);

/// A metric with the labels or reference values that it needs.
struct LabelledMetric {
  std::string name;
  Tensor labels;
};

/// A metric of two models, `a` the one before.
struct MetricPair {
  std::string name;
  double a = 0, b = 0;
  std::optional<double> magnitude = {};  ///< of plain magnitude at the same sparsity
  /// 95 % of the drops of resampled data lie between these (drop_interval.h).
  std::optional<double> drop_low = {}, drop_high = {};
};

/// Whether `b` lost no more than what is tolerated; a NaN is never within that.
bool accuracy_kept(const MetricPair& metric);

}  // namespace espalier
