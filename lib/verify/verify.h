#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/verify/data.h"

namespace espalier {

struct Tolerance {
  double abs = 1e-4, rel = 1e-4;
  /// f16 and bf16 hold fewer digits than that: they get their own tolerance. False where the user
  /// named a number, which then holds for every type.
  bool by_type = true;

  /// What an output of that type is judged by: f16 and bf16 four steps at 1 (2^-8 and 2^-5).
  Tolerance of(DType dtype) const;
};

/// How far two outputs lie apart over all feeds. An element is out of tolerance where |a - b| > abs
/// + rel * |a|, or only one is NaN.
struct OutputDifference {
  std::string name;
  double max_abs = 0, max_rel = 0;  ///< max_rel: max |a - b| over the largest |a| of that output
  double relative_error = 0;        ///< root of sum (a - b)^2 over sum a^2
  double cosine = 1;
  bool ok = true;
  DType dtype = DType::kUnknown;
  Tolerance tolerance = {};  ///< that it was judged by
  std::string note;          ///< where the shapes or types differ: how; the numbers are NaN then
};

struct Comparison {
  size_t samples = 0;
  std::vector<OutputDifference> outputs;
  bool ok() const;
  double max_rel() const;  ///< of the worst output; NaN where one could not be compared
};

/// Takes in pairs of outputs one after another.
class Comparer {
 public:
  explicit Comparer(Tolerance tolerance) : tolerance_(tolerance) {}
  /// Every output of `a` against the one of that name in `b`; one that `b` lacks is out of
  /// tolerance.
  void add(const Feed& a, const Feed& b);
  Comparison result() const;

 private:
  struct Sums {
    std::string name, note;
    DType dtype = DType::kUnknown;
    double max_abs = 0, largest = 0, aa = 0, bb = 0, ab = 0, dd = 0;
    bool ok = true;
  };
  void add_tensor(Sums& sums, const Tensor& a, const Tensor& b) const;

  Tolerance tolerance_;
  size_t samples_ = 0;
  std::vector<Sums> sums_;
};

/// Runs both models (same input and output names, else by position) over the feeds, which are named
/// as in `a`, and compares outputs.
Comparison compare_models(const Model& a, const Model& b, const DataSet& data,
                          const std::vector<Feed>& feeds, Tolerance tolerance,
                          const ExecutorOptions& options_a, const ExecutorOptions& options_b);
Comparison compare_outputs(const std::vector<Feed>& a, const std::vector<Feed>& b,
                           Tolerance tolerance);

/// Metrics of one output over all feeds, joined along the first axis, against labels or reference
/// values (first axis = samples). top1, top5: the last axis of the output is the classes; labels of
/// any integer type, -1 ignored. auc: area under the ROC curve, ties count half, labels 1/0, -1
/// ignored. cosine (mean over the samples), snr (dB), mse: labels of the output's size.
/// Errors  Fault::kUsage: an unknown name; Fault::kFormat: labels that do not fit, naming sizes.
double metric(const std::string& name, const std::vector<Feed>& outputs,
              const std::string& output_name, const Tensor& labels);
std::vector<std::string> metric_names();

/// By how much `after` is worse than `before`, in the metric's unit: mse is better where it is
/// lower, all others where they are higher; so is a metric that is not among metric_names().
double metric_drop(const std::string& name, double before, double after);
/// The drop that still counts as accuracy kept: 1 % of `before`; snr and mse: 0.3 dB.
double tolerated_drop(const std::string& name, double before);
std::string tolerated_text(const std::string& name);

/// Median, 95th percentile and minimum of interleaved runs, in milliseconds.
struct Timing {
  size_t runs = 0;
  double median_ms = 0, p95_ms = 0, min_ms = 0;
};

struct TimingOptions {
  double warmup = 2, seconds = 10;  ///< per body
  double interval_ms = 0;  ///< a run begins at most every so often, with cooled caches in between
};

/// Times the bodies in turns, at least three each. A turn is one run, or several that take a
/// millisecond together: then the first is not counted, so that caches hold what the body uses and
/// not what the body before it used. With an interval each turn is one run.
std::vector<Timing> time_interleaved(std::span<const std::function<void()>> bodies,
                                     const TimingOptions& options);

/// Processor model, instruction set in use and threads, for reports.
struct Machine {
  std::string processor, simd;
  size_t threads = 1;
};
Machine this_machine(size_t threads);

/// A weight that something else is to be measured in place of: input `input` of the node that reads
/// `value`.
struct Replacement {
  ValueId value = 0;
  size_t input = 0;
  Tensor weight;
  /// A constant that changes with it: another input of that node, or of the node that adds it to
  /// that node's output (whose output is then the one looked at).
  std::optional<ValueId> bias_value;
  Tensor bias;
};

/// What each replacement alone does to its node's first output, the node's inputs being those of
/// the unchanged model: root of sum (y - y')^2 over sum y^2, over the feeds. Nothing where the node
/// cannot be found or its output is zero throughout. Looks at the graph itself, not at subgraphs.
std::vector<std::optional<double>> output_errors(const Model& model,
                                                 const std::vector<Replacement>& replacements,
                                                 const DataSet& data,
                                                 const std::vector<Feed>& feeds,
                                                 const ExecutorOptions& options);

/// Index of the node that reads `value` as input `input`, the first one.
std::optional<size_t> reader_of(const Graph& graph, ValueId value, size_t input);

}  // namespace espalier
