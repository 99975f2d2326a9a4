#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lib/verify/data.h"
#include "lib/verify/metric.h"

namespace espalier {

/// What models are run on and judged by: made once, before any work, and only read after that.
struct Evaluation {
  DataSet data;
  std::vector<Feed> feeds;
  bool random = false;                   ///< the feed is a random one
  std::string not_run;                   ///< why models are not run; then there are no feeds
  std::optional<LabelledMetric> labels;  ///< a metric of the first output
};

/// Which feeds of the data are taken.
enum class Share { kAll, kHeldOut, kOthers };

/// Whether feed `index` of inputs that serve for calibration and for checks is kept for the checks:
/// each tenth.
inline bool is_held_out(size_t index) { return index % 10 == 9; }
std::vector<Feed> share_of(std::vector<Feed> feeds, Share share);

/// The feeds of `data` for `model`.
/// Errors  those of make_feeds().
Evaluation evaluation_of(const Model& model, DataSet data, Share share,
                         std::optional<LabelledMetric> labels);

/// What a random feed is made of.
struct RandomInputs {
  uint64_t seed = 0;
  size_t threads = 1;
  std::map<std::string, Shape> shapes = {};  ///< input -> extents of its free dimensions (-1: free)
};

/// One feed of random values that `model` runs on; `data` holds states and constants. What cannot
/// be made, or run, is `not_run`.
Evaluation random_evaluation(const Model& model, DataSet data, const RandomInputs& random,
                             std::optional<LabelledMetric> labels);

/// Operators that the runtime lacks, as part of a sentence; "" where it has all.
std::string lacking_operators(const Model& model);

/// Why runs that check a model would take more than `memory` bytes; "" where they do not. If
/// nothing is said, half of what is available is theirs, and weights of more than 1 GiB are not run.
std::string too_large_to_run(const Model& model, std::optional<uint64_t> memory);

/// Calls body; an Error or a lack of memory becomes `why` where inputs are random: a model need not
/// take those.
void unless_random(bool random, std::string& why, const std::function<void()>& body);

/// The labelled metric of a model over all feeds, which are named as in `reference`.
double labelled_metric_of(const Model& model, const Model& reference, const Evaluation& evaluation,
                          const ExecutorOptions& options);

/// What a labelled metric looks at of a model, feed after feed, named as in `reference`.
std::vector<Feed> first_outputs(const Model& model, const Model& reference,
                                const Evaluation& evaluation, const ExecutorOptions& options);

/// What of a model's outputs a labelled metric looks at.
Feed only_first_output(const Feed& outputs, const Model& reference);

}  // namespace espalier
