#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "apps/espalier/common_options.h"
#include "lib/verify/evaluation.h"

namespace CLI {
class App;
}

namespace espalier {

/// --inputs with what goes with it, and the metric.
struct DataOptions {
  std::string inputs;
  int64_t batch = 0;
  std::vector<std::string> states, fills;  ///< IN=OUT, IN=VALUE
  std::string mask_tokens;                 ///< IN
  std::string labels, metric, metric_command;
};

/// Declares --batch, --state and --fill; --inputs too where `inputs` says what it is for.
void add_data_options(CLI::App& app, DataOptions& options, const char* inputs);
/// Declares --mask-tokens, for commands that collect statistics.
void add_mask_tokens(CLI::App& app, DataOptions& options);
/// Declares --labels and --metric, and --metric-cmd where `command` is set.
void add_metric_options(CLI::App& app, DataOptions& options, bool command);

/// The data at `path` with --batch, --state and --fill; without a path the options alone.
/// Errors  as load_data; Fault::kUsage for an option that is not NAME=WHAT.
DataSet data_set(const std::string& path, const Model& model, const DataOptions& options);

/// What can be said of the options before any file is opened.
/// Errors  Fault::kUsage: an option that is not NAME=WHAT, an unknown metric, one without labels.
void check_data_options(const DataOptions& options);

/// The metric that --labels and --metric ask for; nothing where they are not given.
std::optional<LabelledMetric> labelled_metric(const DataOptions& options);

/// What models are evaluated on.
struct EvaluationSource {
  std::string path;                          ///< "": random inputs
  Share share = Share::kAll;                 ///< of the feeds in it
  std::map<std::string, Shape> shapes = {};  ///< of random inputs
  bool run = true;                           ///< else only the labels are read (--no-verify)
  bool optional = false;                     ///< runs that take more than `memory` are left out
  std::optional<uint64_t> memory = {};       ///< --memory
};

/// Reads data and labels, fits labels to the outputs of the first feed, and finds random inputs that
/// the model runs on.
/// Errors  those of the data that the user named, and of try_labels(); random inputs that cannot be made are `not_run`.
Evaluation read_evaluation(const Model& model, const EvaluationSource& source,
                           const DataOptions& options, const CommonOptions& common);

}  // namespace espalier
