#include "lib/verify/run_checks.h"

#include <algorithm>

#include "lib/base/log.h"
#include "lib/ir/named_weights.h"
#include "lib/verify/drop_interval.h"
#include "lib/verify/model_runner.h"
#include "lib/verify/output_errors.h"
#include "lib/verify/packing.h"

namespace espalier {
namespace {

constexpr Tolerance kRounding{};
constexpr size_t kMostFeeds = 256;  // enough to compare with; a metric takes them all
constexpr size_t kErrorFeeds = 16;  // for output errors per layer
constexpr size_t kReadBackFeeds = 4;

std::vector<Replacement> replacements(const PackedModels& models, const Model& after, bool biases,
                                      std::vector<size_t>& places) {
  std::vector<Replacement> result;
  for (size_t i = 0; i < models.layers.size(); ++i) {
    const Layer& layer = models.layers[i];
    if (!layer.left_out.empty() || !layer.prefix.empty()) continue;
    const Weight& weight = weight_of(after, layer);
    result.push_back({layer.value, layer.input, dense_of(weight), {}, {}});
    if (biases && i < models.biases.size() && models.biases[i]) {
      result.back().bias_value = models.biases[i]->place.value;
      result.back().bias = models.biases[i]->bias;
    }
    places.push_back(i);
  }
  return result;
}

// `after`: models.packed, whose biases are the refitted ones, or another model with other weights.
std::vector<std::optional<double>> measure_output_errors(const PackedModels& models,
                                                         const Model& after, bool biases,
                                                         const Evaluation& evaluation,
                                                         const ExecutorOptions& options) {
  std::vector<size_t> places;
  const std::vector<Replacement> changed = replacements(models, after, biases, places);
  std::vector<Feed> feeds = evaluation.feeds;
  feeds.resize(std::min(feeds.size(), kErrorFeeds));
  const auto errors = output_errors(models.before, changed, evaluation.data, feeds, options);
  std::vector<std::optional<double>> result(models.layers.size());
  for (size_t i = 0; i < places.size(); ++i) result[places[i]] = errors[i];
  return result;
}

// Dense, decoded and packed, each run on the same feeds.
class SideBySide {
 public:
  SideBySide(const PackedModels& models, const Evaluation& evaluation,
             const ExecutorOptions& options)
      : models_(models),
        decoded_(models.packed, models.before, evaluation.data, decoding(options)),
        packed_(models.packed, models.before, evaluation.data, always_packed(options)) {
    if (models.pruned) dense_.emplace(models.before, models.before, evaluation.data, options);
    // The metric is that of rounded inputs.
    if (evaluation.labels && any_int8(models.packed))
      as_used_.emplace(models.packed, models.before, evaluation.data, options);
    keeps_outputs_ = evaluation.labels.has_value();
  }

  void run(const Feed& feed) {
    const Feed from_decoded = decoded_.run(feed);
    const Feed from_packed = packed_.run(feed);
    const Feed from_dense = dense_ ? dense_->run(feed) : from_decoded;
    agreement.add(from_decoded, from_packed);
    cost.add(from_dense, from_decoded);
    if (!keeps_outputs_) return;
    dense_outputs.push_back(only_first_output(from_dense, models_.before));
    packed_outputs.push_back(
        only_first_output(as_used_ ? as_used_->run(feed) : from_packed, models_.before));
  }

  // What the model makes of rounding: decoded weights with sums in another order, against themselves.
  Comparison rounding(const Evaluation& evaluation, size_t count, ExecutorOptions options) {
    options.passes = PassOptions::none();
    ModelRunner other(models_.packed, models_.before, evaluation.data, decoding(options));
    Comparer apart(kRounding);
    for (size_t i = 0; i < count; ++i)
      apart.add(decoded_.run(evaluation.feeds[i]), other.run(evaluation.feeds[i]));
    return apart.result();
  }

  Comparer agreement{kRounding}, cost{kRounding};
  std::vector<Feed> dense_outputs, packed_outputs;  // for a labelled metric

 private:
  static ExecutorOptions always_packed(ExecutorOptions options) {
    options.always_packed = true;  // the kernels are what is verified
    options.exact_values = true;   // else rounded inputs would hide a fault
    return options;
  }
  static ExecutorOptions decoding(ExecutorOptions options) {
    options.decode_weights = true;  // values as stored: models.masked is not rounded to them
    return options;
  }

  const PackedModels& models_;
  std::optional<ModelRunner> dense_;
  ModelRunner decoded_, packed_;
  std::optional<ModelRunner> as_used_;
  bool keeps_outputs_ = false;
};

}  // namespace

bool equal_to_rounding(const RunChecks& checks) {
  constexpr double kMargin = 4;
  return equal_to_rounding(checks.packed) ||
         (checks.rounding && checks.packed.max_rel() <= kMargin * checks.rounding->max_rel());
}

// Runs the dense, the decoded and the packed model on the same feeds and compares their outputs and
// metrics.
RunChecks run_checks(const PackedModels& models, const Evaluation& evaluation,
                     const ExecutorOptions& options) {
  RunChecks checks;
  checks.random = evaluation.random;
  checks.not_run =
      evaluation.not_run.empty() ? lacking_operators(models.packed) : evaluation.not_run;
  if (!checks.not_run.empty()) return checks;
  const std::optional<LabelledMetric>& labels = evaluation.labels;
  const size_t feeds = evaluation.feeds.size();
  const size_t count = labels ? feeds : std::min(feeds, kMostFeeds);
  std::vector<Feed> dense_outputs, packed_outputs;
  unless_random(evaluation.random, checks.not_run, [&] {
    // Output errors take some of the feeds; their products are run twice.
    const auto few = static_cast<double>(std::min(feeds, kErrorFeeds));
    Progress parts(
        "checks", std::vector<double>{3.0 * static_cast<double>(count), models.pruned ? 2 * few : 0,
                                      models.magnitude ? 2 * few : 0});
    SideBySide runs(models, evaluation, options);
    {
      Progress progress("verify", count);
      for (size_t i = 0; i < count; ++i, progress.step()) runs.run(evaluation.feeds[i]);
    }
    parts.step();
    checks.samples = count;
    checks.packed = runs.agreement.result();
    if (!equal_to_rounding(checks.packed))
      checks.rounding = runs.rounding(evaluation, count, options);
    dense_outputs = std::move(runs.dense_outputs);
    packed_outputs = std::move(runs.packed_outputs);
    if (models.pruned) {
      checks.cost = runs.cost.result();
      checks.output_errors =
          measure_output_errors(models, models.packed, true, evaluation, options);
    }
    parts.step();
    if (models.magnitude) {
      checks.magnitude_errors =
          measure_output_errors(models, *models.magnitude, false, evaluation, options);
    }
  });
  if (!labels || !checks.not_run.empty()) return checks;
  const std::string output = output_names(models.before).at(0);
  checks.metric = metric_with_interval(*labels, {dense_outputs, packed_outputs, output});
  if (models.magnitude) {
    checks.metric->magnitude =
        labelled_metric_of(*models.magnitude, models.before, evaluation, options);
  }
  return checks;
}

// Runs the model as read back and compares it with the packed one in memory.
std::optional<ReadBackRun> run_read_back(const PackedModels& models, const Model& read,
                                         const Evaluation& evaluation,
                                         const ExecutorOptions& options) {
  if (!unsupported_operators(read).empty()) return std::nullopt;
  const std::optional<LabelledMetric>& labels = evaluation.labels;
  const size_t feeds = evaluation.feeds.size();
  const size_t count = labels ? feeds : std::min(feeds, kReadBackFeeds);
  ExecutorOptions exact = options;
  exact.exact_values = true;  // a reader may decode i8 values
  ModelRunner packed(models.packed, models.before, evaluation.data, exact);
  ModelRunner back(read, models.before, evaluation.data, exact);
  std::optional<ModelRunner> as_used;  // the metric is that of rounded inputs
  if (labels && any_int8(read)) as_used.emplace(read, models.before, evaluation.data, options);
  Comparer comparer(kRounding);
  std::vector<Feed> outputs;
  for (size_t i = 0; i < count; ++i) {
    const Feed& feed = evaluation.feeds[i];
    Feed from_back;
    if (i < kReadBackFeeds || !as_used) from_back = back.run(feed);
    if (i < kReadBackFeeds) comparer.add(packed.run(feed), from_back);
    if (as_used) from_back = as_used->run(feed);
    if (labels) outputs.push_back(only_first_output(from_back, models.before));
  }
  ReadBackRun result{comparer.result(), std::nullopt};
  if (labels) {
    result.metric =
        metric(labels->name, outputs, output_names(models.before).at(0), labels->labels);
  }
  return result;
}

}  // namespace espalier
