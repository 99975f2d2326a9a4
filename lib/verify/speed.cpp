#include "lib/verify/speed.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <set>
#include <span>

#include "lib/verify/model_runner.h"
#include "lib/verify/output_errors.h"
#include "lib/verify/quantile.h"
#include "lib/verify/timing.h"

namespace espalier {
namespace {

using Clock = std::chrono::steady_clock;

// Median times of some nodes, and of all that is not one of them, over the runs of one executor.
class NodeTimes {
 public:
  NodeTimes(const Executor& executor, const std::set<size_t>& nodes) : executor_(&executor) {
    const std::vector<NodeTime> times = executor.times();
    for (size_t i = 0; i < times.size(); ++i) {
      for (const size_t node : nodes) {
        if (times[i].node == node) nodes_.push_back({node, i, 0, {}});
      }
    }
  }

  /// After each run, which took so long.
  void take(double seconds) {
    const std::vector<NodeTime> times = executor_->times();
    for (Entry& entry : nodes_) {
      entry.samples.push_back(times[entry.place].seconds - entry.sum);
      entry.sum = times[entry.place].seconds;
      seconds -= entry.samples.back();
    }
    rests_.push_back(std::max(seconds, 0.0));
  }

  std::optional<double> median_ms(size_t node) {
    const auto entry = std::ranges::find(nodes_, node, &Entry::node);
    if (entry == nodes_.end() || entry->samples.empty()) return std::nullopt;
    return 1000 * median(entry->samples);
  }

  double rest_ms() { return rests_.empty() ? 0 : 1000 * median(rests_); }

 private:
  struct Entry {
    size_t node, place;
    double sum;
    std::vector<double> samples;
  };
  const Executor* executor_;
  std::vector<Entry> nodes_;
  std::vector<double> rests_;
};

// Layer -> node, for layers that were not left out; a node's time stands at its first weight.
std::vector<std::optional<size_t>> timed_nodes(const PackedModels& models) {
  std::vector<std::optional<size_t>> result(models.layers.size());
  std::set<size_t> seen;
  for (size_t i = 0; i < models.layers.size(); ++i) {
    const Layer& layer = models.layers[i];
    if (!layer.prefix.empty() || !layer.left_out.empty()) continue;
    const auto node = reader_of(models.packed.graph, layer.value, layer.input);
    if (node && seen.insert(*node).second) result[i] = node;
  }
  return result;
}

// Times of both models, round after round: what else the machine does comes and goes in tenths of
// seconds, so many short rounds tell more than a long one.
SpeedChecks steady_times(std::span<const std::function<void()>> bodies) {
  constexpr size_t kFewest = 5, kMost = 16;
  constexpr double kSteady = 0.02;
  std::vector<double> dense, packed, speedups;
  SpeedChecks result;
  while (speedups.size() < kMost && (speedups.size() < kFewest || result.spread > kSteady / 2)) {
    const TimingOptions round{.warmup = speedups.empty() ? 0.05 : 0, .seconds = 0.12};
    const std::vector<Timing> times = time_interleaved(bodies, round);
    dense.push_back(times[0].median_ms);
    packed.push_back(times[1].median_ms);
    speedups.push_back(times[0].median_ms / times[1].median_ms);
    result.runs += std::min(times[0].runs, times[1].runs);
    result.spread = (quantile(speedups, 0.75) - quantile(speedups, 0.25)) / (2 * median(speedups));
  }
  result.ms_dense = median(dense);
  result.ms_packed = result.ms_dense / median(speedups);
  return result;
}

}  // namespace

SpeedChecks time_whole(const Model& dense_model, const Model& packed_model, const Model& reference,
                       const Evaluation& evaluation, const ExecutorOptions& options,
                       Rounds rounds) {
  constexpr TimingOptions kWhole{.warmup = 0.05, .seconds = 0.35};
  ModelRunner dense(dense_model, reference, evaluation.data, options);
  ModelRunner packed(packed_model, reference, evaluation.data, options);
  dense.bind(evaluation.feeds.front());
  packed.bind(evaluation.feeds.front());
  const std::array<std::function<void()>, 2> bodies{[&] { dense.executor().run_bound(); },
                                                    [&] { packed.executor().run_bound(); }};
  if (rounds == Rounds::kUntilSteady) return steady_times(bodies);
  const std::vector<Timing> times = time_interleaved(bodies, kWhole);
  SpeedChecks result;
  result.runs = std::min(times[0].runs, times[1].runs);
  result.ms_dense = times[0].median_ms;
  result.ms_packed = times[1].median_ms;
  return result;
}

// Times the dense and the packed model, interleaved, in total and per node with a packed weight.
SpeedChecks measure_speed(const PackedModels& models, const Evaluation& evaluation,
                          const ExecutorOptions& options, Rounds rounds) {
  constexpr TimingOptions kLayers{.warmup = 0.02, .seconds = 0.15};
  const Feed& feed = evaluation.feeds.front();
  SpeedChecks result =
      time_whole(models.masked, models.packed, models.before, evaluation, options, rounds);
  ExecutorOptions profiled = options;
  profiled.profile = true;
  ModelRunner dense(models.masked, models.before, evaluation.data, profiled);
  ModelRunner packed(models.packed, models.before, evaluation.data, profiled);
  dense.bind(feed);
  packed.bind(feed);
  dense.executor().run_bound();  // makes the programs: then there are times
  packed.executor().run_bound();
  const std::vector<std::optional<size_t>> nodes = timed_nodes(models);
  std::set<size_t> wanted;
  for (const auto& node : nodes) {
    if (node) wanted.insert(*node);
  }
  NodeTimes dense_times(dense.executor(), wanted), packed_times(packed.executor(), wanted);
  const auto one_run = [](ModelRunner& runner, NodeTimes& times) {
    return [&] {
      const auto start = Clock::now();
      runner.executor().run_bound();
      times.take(std::chrono::duration<double>(Clock::now() - start).count());
    };
  };
  const std::array<std::function<void()>, 2> bodies{one_run(dense, dense_times),
                                                    one_run(packed, packed_times)};
  time_interleaved(bodies, kLayers);
  result.ran_dense = packed.executor().ran_dense();
  result.rest_dense = dense_times.rest_ms();
  result.layer_dense.resize(models.layers.size());
  result.layer_packed.resize(models.layers.size());
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (!nodes[i]) continue;
    result.layer_dense[i] = dense_times.median_ms(*nodes[i]);
    result.layer_packed[i] = packed_times.median_ms(*nodes[i]);
  }
  return result;
}

}  // namespace espalier
