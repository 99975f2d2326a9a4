#include "apps/espalier/prune_work.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "apps/espalier/calibration.h"
#include "apps/espalier/common_options.h"
#include "lib/base/log.h"
#include "lib/prune/choose/sensitivity.h"
#include "lib/prune/options/layer_rule.h"
#include "lib/verify/verify.h"

namespace espalier {
namespace {

// Each layer is pruned alone to these; more told nothing more (docs/algorithms/allocation.md).
constexpr std::array kScanLevels{0.3, 0.6, 0.85};
constexpr size_t kScanFeeds = 32;

// Feeds run through two models side by side.
MakePairedPass paired_pass(const CalibrationFeeds& calib, size_t threads) {
  return [&calib, threads](const Model& unchanged, const Model& changed) -> PairedPass {
    return [&, threads](ProductObserver& a, ProductObserver& b, const std::function<void()>& fed) {
      Executor first(unchanged, {.threads = threads, .observer = &a});
      Executor second(changed, {.threads = threads, .observer = &b});
      FeedRunner one(first, unchanged, calib.data.states), two(second, changed, calib.data.states);
      for (const Feed& feed : calib.feeds) {
        one.run(feed);
        two.run(feed);
        fed();
      }
    };
  };
}

std::vector<std::string> state_outputs(const DataSet& data) {
  std::vector<std::string> names;
  for (const auto& [input, output] : data.states) names.push_back(output);
  return names;
}

// Streams start at their start; of other feeds some of all places.
std::vector<Feed> some_feeds(const CalibrationFeeds& calib) {
  const std::vector<Feed>& feeds = calib.feeds;
  if (feeds.size() <= kScanFeeds) return feeds;
  std::vector<Feed> some;
  const bool stream = !calib.data.states.empty();
  for (size_t i = 0; i < kScanFeeds; ++i)
    some.push_back(feeds[stream ? i : i * feeds.size() / kScanFeeds]);
  return some;
}

// What the outputs are made of before they are squashed: near 0 and 1, probabilities say little of
// how much was lost, and where two classes are alike, too much.
Model with_raw_outputs(Model model) {
  static const std::set<std::string> kSquashing{"Softmax", "LogSoftmax", "Sigmoid",
                                                "Tanh",    "ArgMax",     "Identity"};
  Graph& graph = model.graph;
  for (size_t i = graph.nodes.size(); i-- > 0;) {
    const Node& node = graph.nodes[i];
    if (!node.domain.empty() || !kSquashing.contains(node.op)) continue;
    const auto place = std::ranges::find(graph.outputs, node.outputs[0]);
    if (place != graph.outputs.end()) *place = node.inputs[0];
  }
  return model;
}

std::vector<Feed> outputs_of(const Model& squashed, const DataSet& data,
                             const std::vector<Feed>& feeds, size_t threads) {
  const Model model = data.states.empty() ? with_raw_outputs(squashed) : squashed;
  Executor executor(model, {.threads = threads});
  std::vector<Feed> outputs;
  run_feeds(executor, model, data, feeds,
            [&](size_t, const Feed& output) { outputs.push_back(output); });
  return outputs;
}

// Sum over the outputs of their relative squared error.
double distance(const std::vector<Feed>& a, const std::vector<Feed>& b) {
  Comparer comparer({});
  for (size_t i = 0; i < a.size(); ++i) comparer.add(a[i], b[i]);
  double sum = 0;
  for (const OutputDifference& output : comparer.result().outputs)
    sum += output.relative_error * output.relative_error;
  return sum;
}

}  // namespace

PrunedWeights weights_of_plan(const Model& model, PrunePlan plan, const ScoredPlan* scored,
                              const PruneData& data, ThreadPool& pool) {
  if (data.statistics == nullptr || !plan.options.refit) {
    Model masked = apply_plan(model, plan, pool);
    return {std::move(plan), std::move(masked), {}, 0};
  }
  const Stage stage("refit");
  Refitted refitted = refit(model, plan, *data.statistics, pool);
  if (plan.options.sequential) {
    const SequentialOptions options{data.collect, state_outputs(data.calib->data)};
    prune_in_order(model, scored, plan, refitted, paired_pass(*data.calib, data.collect.threads),
                   options, pool);
  }
  return {std::move(plan), std::move(refitted.model), std::move(refitted.biases),
          refitted.rows_kept};
}

PruneWork::PruneWork(const Model& model, const PruneOptions& options, const PruneData& data,
                     ThreadPool& pool)
    : model_(model), options_(options), data_(data), pool_(pool) {
  {
    const Stage stage("score");
    scored_ = score_plan(model, options, pool, data.statistics);
  }
  if (options.scope == "sensitivity") scan();
}

namespace {

// Inputs that a layer is pruned alone for, and others that tell what it lost: what few samples
// make look free is not free.
struct ScanHalf {
  Statistics statistics;
  std::vector<Feed> feeds, outputs;  // of the other half
};

// The calibration feeds in two halves, each with the statistics of the other, for the sensitivity
// scan.
std::vector<ScanHalf> halves_of(const Model& model, const PruneOptions& options,
                                const PruneData& data) {
  const std::vector<Feed> feeds = some_feeds(*data.calib);
  const auto outputs = [&](const std::vector<Feed>& of) {
    return outputs_of(model, data.calib->data, of, data.collect.threads);
  };
  std::vector<ScanHalf> halves;
  // A stream cannot be cut in two, and of one feed there is no half.
  if (!data.calib->data.states.empty() || data.calib->feeds.size() < 2) {
    halves.push_back({*data.statistics, feeds, outputs(feeds)});
    return halves;
  }
  const std::vector<Layer> layers = select_layers(model, options.select);
  for (size_t half = 0; half < 2; ++half) {
    std::vector<Feed> seen, apart;
    for (size_t i = 0; i < data.calib->feeds.size(); ++i) {
      if (i % 2 == half) seen.push_back(data.calib->feeds[i]);
    }
    // Of `feeds`, spread over all of them, each other one is not among those either.
    const size_t step = std::max<size_t>(1, data.calib->feeds.size() / kScanFeeds);
    for (size_t i = 1 - half; i < data.calib->feeds.size(); i += 2 * step)
      apart.push_back(data.calib->feeds[i]);
    halves.push_back(
        {calibrate(model, layers, data.calib->data, seen, data.collect), apart, outputs(apart)});
  }
  return halves;
}

}  // namespace

namespace {

// Share of blocks that cost next to nothing: those that are zero already.
double zero_score_share(const BlockScores& scores) {
  float largest = 0;
  for (const float score : scores.scores)
    largest = std::isfinite(score) ? std::max(largest, score) : largest;
  const auto zeros = static_cast<double>(
      std::ranges::count_if(scores.scores, [&](float score) { return score <= 1e-9F * largest; }));
  return zeros / std::max<double>(1, static_cast<double>(scores.scores.size()));
}

}  // namespace

void PruneWork::scan() {
  const Stage stage("sensitivity scan");
  const std::vector<ScanHalf> halves = halves_of(model_, options_, data_);
  Progress progress("sensitivity scan", scored_.scores.size());
  for (size_t i = 0; i < scored_.scores.size(); ++i, progress.step()) {
    if (!scored_.shared[i]) continue;
    std::vector<SensitivityPoint> points;
    const double zeros = zero_score_share(scored_.scores[i]);  // gone already
    for (const double part : kScanLevels) {
      const double level = zeros + (1 - zeros) * part;
      SensitivityPoint point;
      for (const ScanHalf& half : halves) {
        const SensitivityPoint one = scan_one(i, level, half.statistics, half.feeds, half.outputs);
        point.score = one.score;
        point.distance += one.distance / static_cast<double>(halves.size());
      }
      points.push_back(point);
    }
    scores_to_distances(points, scored_.scores[i]);
  }
  scored_.distances = true;
}

SensitivityPoint PruneWork::scan_one(size_t index, double sparsity, const Statistics& statistics,
                                     const std::vector<Feed>& feeds,
                                     const std::vector<Feed>& outputs) const {
  PrunePlan alone{options_, {choose_one(scored_, index, sparsity, pool_)}};
  const double score = dropped_score(scored_.scores[index], alone.layers[0].mask);
  alone.options.sequential = false;
  PruneData data = data_;
  data.statistics = &statistics;
  const PrunedWeights pruned = weights_of_plan(model_, std::move(alone), nullptr, data, pool_);
  return {score, distance(outputs, outputs_of(pruned.masked, data.calib->data, feeds,
                                              data.collect.threads))};
}

PrunedWeights PruneWork::at(double sparsity) const {
  return weights_of_plan(model_, choose_plan(scored_, sparsity, pool_), &scored_, data_, pool_);
}

// One round per step of the schedule; the masks of the last one are then refitted to the dense
// weights.
PrunedWeights prune_in_rounds(const Model& model, const PruneOptions& options, double sparsity,
                              const PruneData& data, ThreadPool& pool) {
  const Schedule& schedule = *options.schedule;
  PrunedWeights current;
  Progress progress("rounds", schedule.steps);
  for (uint32_t step = 1; step <= schedule.steps; ++step, progress.step()) {
    const double share = scheduled_sparsity(schedule, sparsity, step);
    if (step == 1) {
      current = PruneWork(model, options, data, pool).at(share);
      continue;
    }
    PruneData again = data;
    std::optional<Statistics> statistics;
    if (data.statistics != nullptr) {
      const std::vector<Layer> layers = select_layers(current.masked, options.select);
      statistics =
          calibrate(current.masked, layers, data.calib->data, data.calib->feeds, data.collect);
      again.statistics = &*statistics;
    }
    const Model left = std::move(current.masked);
    current = PruneWork(left, options, again, pool).at(share);
  }
  // Rounds choose blocks; weights that came through all of them would have drifted off with each.
  return weights_of_plan(model, std::move(current.plan), nullptr, data, pool);
}

}  // namespace espalier
