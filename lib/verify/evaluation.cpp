#include "lib/verify/evaluation.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>

#include "lib/base/available_memory.h"
#include "lib/base/name_list.h"
#include "lib/ir/free_dimensions.h"
#include "lib/verify/model_runner.h"

namespace espalier {
void unless_random(bool random, std::string& why, const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    if (!random) throw;
    why = fmt::format("the model does not run on random inputs: {}", error.what());
  } catch (const std::bad_alloc&) {
    if (!random) throw;
    why = "the model does not run on random inputs: out of memory";
  }
}

std::string lacking_operators(const Model& model) {
  const std::vector<std::string> list = unsupported_operators(model);
  if (list.empty()) return "";
  std::vector<std::string> names;
  for (const std::string& entry : list) {
    const std::string op = entry.substr(0, entry.find(" ("));
    if (std::ranges::count(names, op) == 0) names.push_back(op);
  }
  return "the runtime does not support " + name_list(names, 5, 200);
}

std::string too_large_to_run(const Model& model, std::optional<uint64_t> memory) {
  // Measured: dense, decoded and packed side by side, each as read and as kernels take it, and what
  // is compared.
  constexpr uint64_t kCopies = 11;
  constexpr uint64_t kUnasked = uint64_t{1} << 30;
  uint64_t weights = 0;
  for_each_graph(model.graph, [&](const Graph& graph, const std::string&) {
    for (const auto& [id, weight] : graph.weights) {
      if (is_float(weight.dtype())) weights += sizeof(float) * element_count(weight.shape());
    }
  });
  const uint64_t most = memory.value_or(available_memory() / 2);
  const bool fits = weights <= most / kCopies && (memory || weights <= kUnasked);
  if (fits) return "";
  const double gib = static_cast<double>(uint64_t{1} << 30);
  return fmt::format(
      "the weights take {:.2g} GiB and runs about {:.2g} GiB, more than --memory: "
      "weights were compared one by one",
      static_cast<double>(weights) / gib, static_cast<double>(kCopies * weights) / gib);
}

std::vector<Feed> share_of(std::vector<Feed> feeds, Share share) {
  if (share == Share::kAll) return feeds;
  size_t index = 0;
  std::erase_if(feeds,
                [&](const Feed&) { return is_held_out(index++) != (share == Share::kHeldOut); });
  return feeds;
}

Evaluation evaluation_of(const Model& model, DataSet data, Share share,
                         std::optional<LabelledMetric> labels) {
  Evaluation result;
  result.data = std::move(data);
  result.labels = std::move(labels);
  result.not_run = lacking_operators(model);
  result.feeds = share_of(make_feeds(model, result.data), share);
  return result;
}

Evaluation random_evaluation(const Model& model, DataSet data, const RandomInputs& random,
                             std::optional<LabelledMetric> labels) {
  Evaluation result;
  result.data = std::move(data);
  result.labels = std::move(labels);
  result.random = true;
  result.not_run = lacking_operators(model);
  if (!result.not_run.empty()) return result;
  Model bound = model;  // with the extents that the written file has
  bind_free_dimensions(bound.graph, random.shapes);
  // Several steps say more about a recurrent model than one; not every model takes any extent.
  for (const FreeExtents free : {FreeExtents{2, 16}, FreeExtents{1, 64}, FreeExtents{1, 1}}) {
    if (!result.feeds.empty()) break;
    result.not_run.clear();
    unless_random(true, result.not_run, [&] {
      const Feed feed = random_feed(bound, random.seed, result.data, free);
      ModelRunner(model, model, result.data, {.threads = random.threads}).run(feed);
      result.feeds.push_back(feed);
    });
  }
  return result;
}

Feed only_first_output(const Feed& outputs, const Model& reference) {
  const std::string name = output_names(reference).at(0);
  return {{name, outputs.at(name)}};
}

std::vector<Feed> first_outputs(const Model& model, const Model& reference,
                                const Evaluation& evaluation, const ExecutorOptions& options) {
  ModelRunner runner(model, reference, evaluation.data, options);
  std::vector<Feed> outputs;
  for (const Feed& feed : evaluation.feeds)
    outputs.push_back(only_first_output(runner.run(feed), reference));
  return outputs;
}

double labelled_metric_of(const Model& model, const Model& reference, const Evaluation& evaluation,
                          const ExecutorOptions& options) {
  const std::vector<Feed> outputs = first_outputs(model, reference, evaluation, options);
  return metric(evaluation.labels->name, outputs, output_names(reference).at(0),
                evaluation.labels->labels);
}

}  // namespace espalier
