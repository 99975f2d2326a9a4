#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lib/verify/verify.h"

namespace CLI {
class App;
}

namespace espalier {

/// --inputs with what goes with it, and the metric.
struct DataOptions {
  std::string inputs;
  int64_t batch = 0;
  std::vector<std::string> states, fills;  ///< IN=OUT, IN=VALUE
  std::string labels, metric, metric_command;
};

/// Declares --batch, --state and --fill; --inputs too where `inputs` says what it is for.
void add_data_options(CLI::App& app, DataOptions& options, const char* inputs);
/// Declares --labels and --metric, and --metric-cmd where `command` is set.
void add_metric_options(CLI::App& app, DataOptions& options, bool command);

/// The data at `path` with --batch, --state and --fill; without a path the options alone.
/// Errors  as load_data; Fault::kUsage for an option that is not NAME=WHAT.
DataSet data_set(const std::string& path, const Model& model, const DataOptions& options);

/// The metric that --labels and --metric ask for; nothing where they are not given.
struct LabelledMetric {
  std::string name;
  Tensor labels;
};
std::optional<LabelledMetric> labelled_metric(const DataOptions& options);

}  // namespace espalier
