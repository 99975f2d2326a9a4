#include "apps/espalier/run_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <set>

#include "apps/espalier/weights.h"
#include "lib/base/log.h"
#include "lib/sparse/pack.h"

namespace espalier {
namespace {

constexpr Tolerance kRounding{};
constexpr size_t kMostFeeds = 256;  // enough to compare with; a metric takes them all
constexpr size_t kErrorFeeds = 16;  // for output errors per layer
constexpr size_t kReadBackFeeds = 4;

// Calls body; an Error or a lack of memory becomes `why` where inputs are random: a model need not
// take those.
template <typename Body>
void unless_random(bool random, std::string& why, const Body& body) {
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

std::string lacking(const Model& model) {
  const std::vector<std::string> list = unsupported_operators(model);
  if (list.empty()) return "";
  std::vector<std::string> names;
  for (const std::string& entry : list) {
    const std::string op = entry.substr(0, entry.find(" ("));
    if (std::ranges::count(names, op) == 0) names.push_back(op);
  }
  constexpr size_t kShown = 5;
  const size_t count = names.size();
  names.resize(std::min(count, kShown));
  return fmt::format("the runtime does not support {}{}", fmt::join(names, ", "),
                     count > kShown ? fmt::format(" and {} more", count - kShown) : "");
}

// Only the output that a metric looks at is kept.
Feed only(const Feed& outputs, const std::string& name) { return {{name, outputs.at(name)}}; }

std::vector<Replacement> replacements(const PackJob& job, const Model& after, bool biases,
                                      std::vector<size_t>& places) {
  std::vector<Replacement> result;
  for (size_t i = 0; i < job.layers.size(); ++i) {
    const Layer& layer = job.layers[i];
    if (!job.rows[i].left_out.empty() || !layer.prefix.empty()) continue;
    const Weight& weight = weight_of(after, layer);
    result.push_back({layer.value,
                      layer.input,
                      weight.is_sparse() ? decode(weight.sparse()) : weight.dense(),
                      {},
                      {}});
    if (biases && i < job.biases.size() && job.biases[i]) {
      result.back().bias_value = job.biases[i]->place.value;
      result.back().bias = job.biases[i]->bias;
    }
    places.push_back(i);
  }
  return result;
}

// `after`: job.packed, whose biases are the refitted ones, or another model with other weights.
std::vector<std::optional<double>> measure_output_errors(const PackJob& job, const Model& after,
                                                         bool biases, const CheckInputs& inputs,
                                                         const ExecutorOptions& options) {
  std::vector<size_t> places;
  const std::vector<Replacement> changed = replacements(job, after, biases, places);
  std::vector<Feed> feeds = inputs.feeds;
  feeds.resize(std::min(feeds.size(), kErrorFeeds));
  const auto errors = output_errors(job.before, changed, inputs.data, feeds, options);
  std::vector<std::optional<double>> result(job.layers.size());
  for (size_t i = 0; i < places.size(); ++i) result[places[i]] = errors[i];
  return result;
}

// Node i is called "i", so that its time is found again: the runtime folds some nodes away.
Model with_numbered_nodes(Model model) {
  for (size_t i = 0; i < model.graph.nodes.size(); ++i)
    model.graph.nodes[i].name = std::to_string(i);
  return model;
}

// Median times of some nodes over the runs of one executor.
class NodeTimes {
 public:
  NodeTimes(const Executor& executor, const std::set<size_t>& nodes) : executor_(&executor) {
    const std::vector<NodeTime> times = executor.times();
    for (size_t i = 0; i < times.size(); ++i) {
      for (const size_t node : nodes) {
        if (times[i].name == std::to_string(node)) nodes_.push_back({node, i, 0, {}});
      }
    }
  }

  /// After each run.
  void take() {
    const std::vector<NodeTime> times = executor_->times();
    for (Entry& entry : nodes_) {
      entry.samples.push_back(times[entry.place].seconds - entry.sum);
      entry.sum = times[entry.place].seconds;
    }
  }

  std::optional<double> median_ms(size_t node) {
    const auto entry = std::ranges::find(nodes_, node, &Entry::node);
    if (entry == nodes_.end() || entry->samples.empty()) return std::nullopt;
    auto& samples = entry->samples;
    const auto middle = samples.begin() + static_cast<ptrdiff_t>(samples.size() / 2);
    std::ranges::nth_element(samples, middle);
    return 1000 * *middle;
  }

 private:
  struct Entry {
    size_t node, place;
    double sum;
    std::vector<double> samples;
  };
  const Executor* executor_;
  std::vector<Entry> nodes_;
};

// Layer -> node, for layers that were not left out; a node's time stands at its first weight.
std::vector<std::optional<size_t>> timed_nodes(const PackJob& job) {
  std::vector<std::optional<size_t>> result(job.layers.size());
  std::set<size_t> seen;
  for (size_t i = 0; i < job.layers.size(); ++i) {
    const Layer& layer = job.layers[i];
    if (!layer.prefix.empty() || !job.rows[i].left_out.empty()) continue;
    const auto node = reader_of(job.packed.graph, layer.value, layer.input);
    if (node && seen.insert(*node).second) result[i] = node;
  }
  return result;
}

// The model with the extents that the written file has: free ones bound as asked, by name for all
// inputs that share it.
Model with_bound_inputs(Model model, const std::map<std::string, Shape>& shapes) {
  std::map<std::string, int64_t> by_name;
  const auto names_extent = [](const Value& value, size_t i) {
    return (*value.shape)[i] < 0 && i < value.dimension_names.size() &&
           !value.dimension_names[i].empty();
  };
  for (const ValueId id : model.graph.inputs) {
    Value& value = model.graph.values[id];
    const auto bound = shapes.find(value.name);
    if (bound == shapes.end()) continue;
    if (!value.shape) value.shape = Shape(bound->second.size(), -1);
    for (size_t i = 0; i < value.shape->size() && i < bound->second.size(); ++i) {
      if ((*value.shape)[i] >= 0 || bound->second[i] < 0) continue;
      if (names_extent(value, i)) by_name.emplace(value.dimension_names[i], bound->second[i]);
      (*value.shape)[i] = bound->second[i];
    }
  }
  for (const ValueId id : model.graph.inputs) {
    Value& value = model.graph.values[id];
    for (size_t i = 0; value.shape && i < value.shape->size(); ++i) {
      if (!names_extent(value, i)) continue;
      const auto found = by_name.find(value.dimension_names[i]);
      if (found != by_name.end()) (*value.shape)[i] = found->second;
    }
  }
  return model;
}

}  // namespace

bool agrees(const Comparison& comparison) {
  return std::ranges::all_of(comparison.outputs, [](const OutputDifference& output) {
    return output.ok || output.max_rel <= kRounding.rel;
  });
}

bool RunChecks::agrees() const { return espalier::agrees(packed); }

// Inputs of the checks: the data of the command line, or seeded random feeds if there are none.
CheckInputs check_inputs(const PackJob& job, const CommonOptions& common) {
  CheckInputs inputs;
  inputs.data = data_set(job.data_path, job.before, job.data);
  inputs.not_run = lacking(job.packed);
  if (!job.data_path.empty()) {
    inputs.feeds = make_feeds(job.before, inputs.data);
    if (job.held_out) {
      size_t index = 0;
      std::erase_if(inputs.feeds, [&](const Feed&) { return !is_held_out(index++); });
    }
    return inputs;
  }
  inputs.random = true;
  const Model bound = with_bound_inputs(job.before, job.write.shapes);
  // Several steps say more about a recurrent model than one; not every model takes any extent.
  for (const FreeExtents free : {FreeExtents{2, 16}, FreeExtents{1, 64}, FreeExtents{1, 1}}) {
    if (!lacking(job.before).empty() || !inputs.feeds.empty()) break;
    inputs.not_run.clear();
    unless_random(true, inputs.not_run, [&] {
      const Feed feed = random_feed(bound, common.seed, inputs.data, free);
      ModelRunner(job.before, job.before, inputs.data, {.threads = common.threads}).run(feed);
      inputs.feeds.push_back(feed);
    });
  }
  return inputs;
}

// Runs the dense, the masked and the packed model on the same feeds and compares their outputs and
// metrics.
RunChecks run_checks(const PackJob& job, const CheckInputs& inputs,
                     const ExecutorOptions& options) {
  RunChecks checks;
  checks.random = inputs.random;
  checks.not_run = inputs.not_run;
  if (!checks.not_run.empty()) return checks;
  const std::optional<LabelledMetric> wanted = labelled_metric(job.data);
  const size_t count = wanted ? inputs.feeds.size() : std::min(inputs.feeds.size(), kMostFeeds);
  const std::string first_output = output_names(job.before).at(0);
  std::vector<Feed> dense_outputs, packed_outputs;
  unless_random(inputs.random, checks.not_run, [&] {
    std::optional<ModelRunner> dense;
    if (job.pruned) dense.emplace(job.before, job.before, inputs.data, options);
    ExecutorOptions decoding = options, always_packed = options;
    always_packed.always_packed = true;  // the kernels are what is verified
    always_packed.exact_values = true;   // else rounded inputs would hide a fault
    decoding.decode_weights = true;      // values as stored: job.masked is not rounded to them
    ModelRunner decoded(job.packed, job.before, inputs.data, decoding);
    ModelRunner packed(job.packed, job.before, inputs.data, always_packed);
    std::optional<ModelRunner> as_used;  // the metric is that of rounded inputs
    if (wanted && any_int8(job.packed))
      as_used.emplace(job.packed, job.before, inputs.data, options);
    Comparer agreement(kRounding), cost(kRounding);
    Progress progress("verify", count);
    for (size_t i = 0; i < count; ++i) {
      const Feed& feed = inputs.feeds[i];
      const Feed from_decoded = decoded.run(feed);
      const Feed from_packed = packed.run(feed);
      const Feed from_dense = dense ? dense->run(feed) : from_decoded;
      agreement.add(from_decoded, from_packed);
      cost.add(from_dense, from_decoded);
      if (wanted) {
        dense_outputs.push_back(only(from_dense, first_output));
        packed_outputs.push_back(only(as_used ? as_used->run(feed) : from_packed, first_output));
      }
      progress.step();
    }
    checks.samples = count;
    checks.packed = agreement.result();
    if (job.pruned) checks.cost = cost.result();
    if (job.pruned)
      checks.output_errors = measure_output_errors(job, job.packed, true, inputs, options);
    if (job.magnitude)
      checks.magnitude_errors = measure_output_errors(job, *job.magnitude, false, inputs, options);
  });
  if (wanted && checks.not_run.empty()) {
    checks.metric =
        MetricPair{wanted->name, metric(wanted->name, dense_outputs, first_output, wanted->labels),
                   metric(wanted->name, packed_outputs, first_output, wanted->labels)};
    if (job.magnitude) {
      checks.metric->magnitude =
          labelled_metric_of(*job.magnitude, job.before, inputs, *wanted, options);
    }
  }
  return checks;
}

double labelled_metric_of(const Model& model, const Model& reference, const CheckInputs& inputs,
                          const LabelledMetric& wanted, const ExecutorOptions& options) {
  const std::string first_output = output_names(reference).at(0);
  ModelRunner runner(model, reference, inputs.data, options);
  std::vector<Feed> outputs;
  for (const Feed& feed : inputs.feeds) outputs.push_back(only(runner.run(feed), first_output));
  return metric(wanted.name, outputs, first_output, wanted.labels);
}

// Runs the model as read back and compares it with the packed one in memory.
std::optional<Comparison> run_read_back(const PackJob& job, const Model& read,
                                        const CheckInputs& inputs, const ExecutorOptions& options,
                                        RunChecks& checks) {
  if (!checks.not_run.empty() || !unsupported_operators(read).empty()) return std::nullopt;
  const std::optional<LabelledMetric> wanted = labelled_metric(job.data);
  const size_t count = wanted ? inputs.feeds.size() : std::min(inputs.feeds.size(), kReadBackFeeds);
  const std::string first_output = output_names(job.before).at(0);
  ExecutorOptions exact = options;
  exact.exact_values = true;  // a reader may decode i8 values
  ModelRunner packed(job.packed, job.before, inputs.data, exact);
  ModelRunner back(read, job.before, inputs.data, exact);
  std::optional<ModelRunner> as_used;  // the metric is that of rounded inputs
  if (wanted && any_int8(read)) as_used.emplace(read, job.before, inputs.data, options);
  Comparer comparer(kRounding);
  std::vector<Feed> outputs;
  for (size_t i = 0; i < count; ++i) {
    const Feed& feed = inputs.feeds[i];
    Feed from_back;
    if (i < kReadBackFeeds || !as_used) from_back = back.run(feed);
    if (i < kReadBackFeeds) comparer.add(packed.run(feed), from_back);
    if (as_used) from_back = as_used->run(feed);
    if (wanted) outputs.push_back(only(from_back, first_output));
  }
  if (wanted) checks.metric->b = metric(wanted->name, outputs, first_output, wanted->labels);
  return comparer.result();
}

SpeedChecks time_whole(const Model& dense_model, const Model& packed_model, const Model& reference,
                       const CheckInputs& inputs, const ExecutorOptions& options) {
  constexpr TimingOptions kWhole{.warmup = 0.05, .seconds = 0.35};
  ModelRunner dense(dense_model, reference, inputs.data, options);
  ModelRunner packed(packed_model, reference, inputs.data, options);
  dense.bind(inputs.feeds.front());
  packed.bind(inputs.feeds.front());
  const std::array<std::function<void()>, 2> bodies{[&] { dense.executor().run_bound(); },
                                                    [&] { packed.executor().run_bound(); }};
  const std::vector<Timing> times = time_interleaved(bodies, kWhole);
  SpeedChecks result;
  result.ms_dense = times[0].median_ms;
  result.ms_packed = times[1].median_ms;
  return result;
}

// Times the dense and the packed model, interleaved, in total and per node with a packed weight.
SpeedChecks measure_speed(const PackJob& job, const CheckInputs& inputs,
                          const ExecutorOptions& options) {
  constexpr TimingOptions kLayers{.warmup = 0.02, .seconds = 0.15};
  const Feed& feed = inputs.feeds.front();
  SpeedChecks result = time_whole(job.masked, job.packed, job.before, inputs, options);
  ExecutorOptions profiled = options;
  profiled.profile = true;
  const Model dense_model = with_numbered_nodes(job.masked);
  const Model packed_model = with_numbered_nodes(job.packed);
  ModelRunner dense(dense_model, job.before, inputs.data, profiled);
  ModelRunner packed(packed_model, job.before, inputs.data, profiled);
  dense.bind(feed);
  packed.bind(feed);
  dense.executor().run_bound();  // makes the programs: then there are times
  packed.executor().run_bound();
  const std::vector<std::optional<size_t>> nodes = timed_nodes(job);
  std::set<size_t> wanted;
  for (const auto& node : nodes) {
    if (node) wanted.insert(*node);
  }
  NodeTimes dense_times(dense.executor(), wanted), packed_times(packed.executor(), wanted);
  const auto one_run = [](ModelRunner& runner, NodeTimes& times) {
    return [&] {
      runner.executor().run_bound();
      times.take();
    };
  };
  const std::array<std::function<void()>, 2> bodies{one_run(dense, dense_times),
                                                    one_run(packed, packed_times)};
  time_interleaved(bodies, kLayers);
  result.ran_dense = packed.executor().ran_dense();
  result.layer_dense.resize(job.layers.size());
  result.layer_packed.resize(job.layers.size());
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (!nodes[i]) continue;
    result.layer_dense[i] = dense_times.median_ms(*nodes[i]);
    result.layer_packed[i] = packed_times.median_ms(*nodes[i]);
  }
  return result;
}

}  // namespace espalier
