#include "apps/espalier/metric_trial.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "apps/espalier/metric_command.h"
#include "formats/format.h"
#include "lib/base/log.h"
#include "lib/base/temporaries.h"
#include "lib/verify/model_runner.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

// Whether all feeds give outputs of one shape, so that the first tells how many values there are.
bool all_alike(const std::vector<Feed>& feeds) {
  return std::ranges::all_of(feeds, [&](const Feed& feed) {
    return std::ranges::equal(feed, feeds.front(), [](const auto& a, const auto& b) {
      return a.first == b.first && a.second.shape() == b.second.shape();
    });
  });
}

}  // namespace

void try_labels(const Model& model, const Evaluation& evaluation, const DataOptions& options,
                const ExecutorOptions& executor) {
  const std::vector<Feed>& feeds = evaluation.feeds;
  if (!evaluation.labels || !evaluation.not_run.empty() || feeds.empty() || !all_alike(feeds))
    return;
  ModelRunner runner(model, model, evaluation.data, executor);
  const Feed first = only_first_output(runner.run(feeds.front()), model);
  const LabelledMetric& labels = *evaluation.labels;
  try {
    metric(labels.name, std::vector<Feed>(feeds.size(), first), first.begin()->first,
           labels.labels);
  } catch (const Error& error) {
    const std::string by_default =
        options.metric.empty()
            ? fmt::format("do not fit {}, the default of --metric (others: {}): ", labels.name,
                          fmt::join(metric_names(), ", "))
            : fmt::format("do not fit --metric {}: ", labels.name);
    throw Error(Fault::kFormat,
                fmt::format("{}: {}{}", printable(options.labels), by_default, error.what()));
  }
}

double try_metric_command(const std::string& command, const fs::path& input, const Model& model,
                          const Destination& destination) {
  const Stage stage("try metric-cmd");
  const double value = run_metric_command(command, input);
  const HeldFolder folder(fs::temp_directory_path() / "espalier");
  const fs::path name =
      destination.output.has_filename() ? destination.output : destination.output.parent_path();
  const fs::path unpruned = folder.path() / name.filename();
  double written = value;
  try {
    write_model(model, unpruned, destination.write);
    written = run_metric_command(command, unpruned);
  } catch (Error& error) {
    error.add_context(fmt::format("tried on the unpruned model as {}", name.filename().string()));
    throw;
  }
  constexpr double kEqual = 1e-3;  // of the value: runtimes round differently
  if (!(std::abs(written - value) <= kEqual * std::abs(value))) {
    warn(
        fmt::format("--metric-cmd prints {:.6g} for the input and {:.6g} for the same model in the "
                    "output's format, unpruned",
                    value, written));
  }
  return value;
}

}  // namespace espalier
