#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lib/verify/data.h"

namespace espalier {

struct Tolerance {
  double abs = 1e-4, rel = 1e-4;
};

/// How far two outputs lie apart over all feeds. An element is out of tolerance where |a - b| > abs
/// + rel * |a|, or only one is NaN.
struct OutputDifference {
  std::string name;
  double max_abs = 0, max_rel = 0;  ///< max_rel: max |a - b| over the largest |a| of that output
  double relative_error = 0;        ///< root of sum (a - b)^2 over sum a^2
  double cosine = 1;
  bool ok = true;
};

struct Comparison {
  size_t samples = 0;
  std::vector<OutputDifference> outputs;
  bool ok() const;
};

/// Runs both models (same input and output names, else by position) over the feeds and compares
/// outputs.
Comparison compare_models(const Model& a, const Model& b, const DataSet& data,
                          const std::vector<Feed>& feeds, Tolerance tolerance,
                          const ExecutorOptions& options_a, const ExecutorOptions& options_b);
Comparison compare_outputs(const std::vector<Feed>& a, const std::vector<Feed>& b,
                           Tolerance tolerance);

/// Metrics of output 0 over all feeds, joined along the first axis, against labels or reference
/// values (first axis = samples). top1, top5: labels of any integer type, -1 ignored. auc: area
/// under the ROC curve, ties count half, labels 1/0, -1 ignored. cosine, snr (dB), mse: labels of
/// the output's shape. Errors  Fault::kUsage: an unknown name, labels of a shape that does not fit.
double metric(const std::string& name, const std::vector<Feed>& outputs,
              const std::string& output_name, const Tensor& labels);
std::vector<std::string> metric_names();

/// Median, 95th percentile and minimum of interleaved runs, in milliseconds.
struct Timing {
  size_t runs = 0;
  double median_ms = 0, p95_ms = 0, min_ms = 0;
};

/// Times the executors in turns (A B A B ...): `warmup` seconds, then `seconds`, per executor; at
/// least three runs each.
std::vector<Timing> time_interleaved(const std::vector<Executor*>& executors,
                                     const std::vector<Feed>& feeds, double warmup, double seconds);

/// Processor model, instruction set in use and threads, for reports.
struct Machine {
  std::string processor, simd;
  size_t threads = 1;
};
Machine this_machine(size_t threads);

}  // namespace espalier
