#include "apps/espalier/data_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>

#include "apps/espalier/load_data.h"
#include "apps/espalier/metric_trial.h"
#include "formats/npy/npy.h"

namespace espalier {
namespace {

// Split at the last '=': names of tensors may hold one.
std::pair<std::string, std::string> split(const std::string& option, const std::string& text,
                                          const char* form) {
  const size_t place = text.rfind('=');
  if (place == std::string::npos || place == 0 || place + 1 == text.size()) {
    throw Error(Fault::kUsage, fmt::format("{} {}: expected {}", option, printable(text), form));
  }
  return {text.substr(0, place), text.substr(place + 1)};
}

double number(const std::string& text) {
  double value = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (fault != std::errc() || end != text.data() + text.size()) {
    throw Error(Fault::kUsage, fmt::format("--fill: '{}' is not a number", printable(text)));
  }
  return value;
}

DataSet states_and_fills(const DataOptions& options) {
  DataSet data;
  for (const std::string& text : options.states)
    data.states.insert(split("--state", text, "IN=OUT"));
  for (const std::string& text : options.fills) {
    const auto [input, value] = split("--fill", text, "IN=VALUE");
    data.fill.emplace(input, number(value));
  }
  return data;
}

}  // namespace

void add_data_options(CLI::App& app, DataOptions& options, const char* inputs) {
  if (inputs != nullptr) {
    app.add_option("--inputs", options.inputs, inputs)->type_name("DATA")->group("Data");
  }
  app.add_option("--batch", options.batch, "samples per feed if the first axis is free (1)")
      ->type_name("N")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30))
      ->group("Data");
  app.add_option("--state", options.states,
                 "start input IN at zero and feed it output OUT of the previous sample; repeatable")
      ->type_name("IN=OUT")
      ->allow_extra_args(false)
      ->group("Data");
  app.add_option("--fill", options.fills,
                 "constant for an input that DATA does not contain; repeatable")
      ->type_name("IN=VALUE")
      ->allow_extra_args(false)
      ->group("Data");
}

void add_mask_tokens(CLI::App& app, DataOptions& options) {
  app.add_option("--mask-tokens", options.mask_tokens,
                 "input that is 0 where a token is padding: statistics leave these tokens out")
      ->type_name("IN")
      ->group("Data");
}

void add_metric_options(CLI::App& app, DataOptions& options, bool command) {
  app.add_option("--labels", options.labels,
                 "labels or reference values in a .npy file, samples along the first axis")
      ->type_name("FILE")
      ->group("Data");
  app.add_option("--metric", options.metric,
                 fmt::format("{} (top1)", fmt::join(metric_names(), ", ")))
      ->type_name("M")
      ->group("Data");
  if (!command) return;
  app.add_option("--metric-cmd", options.metric_command,
                 "command that prints one number for the model file {model}")
      ->type_name("CMD")
      ->group("Data");
}

void check_data_options(const DataOptions& options) {
  states_and_fills(options);
  if (options.metric.empty()) return;
  const std::vector<std::string> names = metric_names();
  if (std::ranges::count(names, options.metric) == 0) {
    throw Error(Fault::kUsage, fmt::format("--metric {}: expected one of {}",
                                           printable(options.metric), fmt::join(names, ", ")));
  }
  if (options.labels.empty())
    throw Error(Fault::kUsage, fmt::format("--metric {} requires --labels", options.metric));
}

DataSet data_set(const std::string& path, const Model& model, const DataOptions& options) {
  DataSet data = path.empty() ? DataSet() : load_data(path, model);
  const DataSet given = states_and_fills(options);
  data.batch = options.batch;
  data.states = given.states;
  data.fill = given.fill;
  data.token_mask = options.mask_tokens;
  if (!path.empty() && !data.token_mask.empty() &&
      std::ranges::count(input_names(model), data.token_mask) == 0) {
    throw Error(Fault::kUsage,
                fmt::format("--mask-tokens {}: the model has no such input; it has {}",
                            printable(data.token_mask), fmt::join(input_names(model), ", ")));
  }
  return data;
}

std::optional<LabelledMetric> labelled_metric(const DataOptions& options) {
  check_data_options(options);
  if (options.labels.empty()) return std::nullopt;
  return LabelledMetric{options.metric.empty() ? "top1" : options.metric,
                        read_npy_file(options.labels)};
}

Evaluation read_evaluation(const Model& model, const EvaluationSource& source,
                           const DataOptions& options, const CommonOptions& common) {
  std::optional<LabelledMetric> labels = labelled_metric(options);
  if (!source.run) {
    Evaluation evaluation;
    evaluation.not_run = "--no-verify";
    evaluation.labels = std::move(labels);
    return evaluation;
  }
  DataSet data = data_set(source.path, model, options);
  const std::string too_large =
      source.optional ? too_large_to_run(model, source.memory) : std::string();
  if (!too_large.empty()) {
    Evaluation evaluation;
    evaluation.data = std::move(data);
    evaluation.labels = std::move(labels);
    evaluation.not_run = too_large;
    return evaluation;
  }
  if (!source.path.empty()) {
    Evaluation evaluation = evaluation_of(model, std::move(data), source.share, std::move(labels));
    try_labels(model, evaluation, options, {.threads = common.threads});
    return evaluation;
  }
  const RandomInputs random{common.seed, common.threads, source.shapes};
  return random_evaluation(model, std::move(data), random, std::move(labels));
}

}  // namespace espalier
