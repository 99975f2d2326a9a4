#include "lib/search/sensitivity_scan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <span>

#include "lib/base/checked_math.h"
#include "lib/base/log.h"
#include "lib/prune/choose/sensitivity.h"
#include "lib/verify/compare.h"

namespace espalier {
namespace {

// Each layer is pruned alone to these; more told nothing more (docs/algorithms/allocation.md).
constexpr std::array kScanLevels{0.3, 0.6, 0.85};
constexpr size_t kScanFeeds = 32;
constexpr size_t kMostGroups = 64;

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

// Inputs that a layer is pruned alone for, and others that tell what it lost: what few samples
// make look free is not free.
struct ScanHalf {
  std::optional<std::vector<Feed>> seen;  // nothing: all, which there are statistics of
  std::vector<Feed> feeds, outputs;       // of the other half
};

// The calibration feeds in two halves.
std::vector<ScanHalf> halves_of(const Model& model, const PruneData& data) {
  const std::vector<Feed> feeds = some_feeds(*data.calib);
  const auto outputs = [&](const std::vector<Feed>& of) {
    return raw_outputs(model, data.calib->data, of, data.collect.threads);
  };
  std::vector<ScanHalf> halves;
  // A stream cannot be cut in two, and of one feed there is no half.
  if (!data.calib->data.states.empty() || data.calib->feeds.size() < 2) {
    halves.push_back({std::nullopt, feeds, outputs(feeds)});
    return halves;
  }
  for (size_t half = 0; half < 2; ++half) {
    std::vector<Feed> seen, apart;
    for (size_t i = 0; i < data.calib->feeds.size(); ++i) {
      if (i % 2 == half) seen.push_back(data.calib->feeds[i]);
    }
    // Of `feeds`, spread over all of them, each other one is not among those either.
    const size_t step = std::max<size_t>(1, data.calib->feeds.size() / kScanFeeds);
    for (size_t i = 1 - half; i < data.calib->feeds.size(); i += 2 * step)
      apart.push_back(data.calib->feeds[i]);
    halves.push_back({std::move(seen), apart, outputs(apart)});
    drop_nan(halves.back().feeds, halves.back().outputs);
  }
  return halves;
}

// Layers that are pruned together and looked at as one. Each by itself while there are few; of many
// layers, neighbours of one method and block shape, so that the runs grow with the model alone.
std::vector<std::vector<size_t>> groups_of(const ScoredPlan& scored) {
  std::vector<size_t> shared;
  for (size_t i = 0; i < scored.shared.size(); ++i) {
    if (scored.shared[i]) shared.push_back(i);
  }
  const size_t together = std::max<size_t>(1, ceil_div(shared.size(), kMostGroups));
  std::vector<std::vector<size_t>> groups;
  for (const size_t i : shared) {
    const LayerPlan& layer = scored.plan.layers[i];
    const LayerPlan* last = groups.empty() ? nullptr : &scored.plan.layers[groups.back().front()];
    if (last == nullptr || groups.back().size() == together || last->method != layer.method ||
        last->block.rows != layer.block.rows || last->block.cols != layer.block.cols)
      groups.emplace_back();
    groups.back().push_back(i);
  }
  return groups;
}

// Groups in a row, given by the index of the first and how many, whose layers share a pass of
// calibration: their statistics alone are in memory next to those of the whole.
struct Run {
  size_t first = 0, count = 0;
};

std::vector<Run> runs_of(const std::vector<std::vector<size_t>>& groups, const PruneData& data) {
  std::vector<Run> runs;
  size_t used = 0;
  for (size_t i = 0; i < groups.size(); ++i) {
    size_t bytes = 0;
    for (const size_t layer : groups[i]) bytes += sums_bytes(data.layers[layer]);
    if (runs.empty() || used + bytes > data.collect.bytes_of_a_pass()) {
      runs.push_back({i, 0});
      used = 0;
    }
    used += bytes;
    ++runs.back().count;
  }
  return runs;
}

// Statistics of what the layers of these groups see of half of the feeds.
Statistics statistics_of(const Model& model, const PruneData& data, const std::vector<Feed>& seen,
                         std::span<const std::vector<size_t>> groups) {
  std::vector<Layer> layers;
  for (const std::vector<size_t>& group : groups) {
    for (const size_t i : group) layers.push_back(data.layers[i]);
  }
  CalibrationGaps told;  // of the whole
  return calibrate(model, layers, data.calib->data, seen, data.collect, &told);
}

// The scores of a group, one layer's after the other's.
BlockScores joined(const ScoredPlan& scored, const std::vector<size_t>& group) {
  BlockScores result;
  for (const size_t i : group) {
    const std::vector<float>& scores = scored.scores[i].scores;
    result.scores.insert(result.scores.end(), scores.begin(), scores.end());
  }
  return result;
}

// Share of blocks that cost next to nothing: those that are zero already.
double zero_score_share(const std::vector<float>& scores) {
  float largest = 0;
  for (const float score : scores)
    largest = std::isfinite(score) ? std::max(largest, score) : largest;
  const auto zeros = static_cast<double>(
      std::ranges::count_if(scores, [&](float score) { return score <= 1e-9F * largest; }));
  return zeros / std::max<double>(1, static_cast<double>(scores.size()));
}

// What pruning one group alone costs.
SensitivityPoint scan_one(const Model& model, const PruneData& data, const ScoredPlan& scored,
                          const std::vector<size_t>& group, double sparsity, const ScanHalf& half,
                          const Statistics& statistics, ThreadPool& pool) {
  PrunePlan alone{scored.plan.options, choose_together(scored, group, sparsity, pool)};
  double score = 0;
  for (size_t i = 0; i < group.size(); ++i)
    score += dropped_score(scored.scores[group[i]], alone.layers[i].mask);
  alone.options.sequential = false;
  PruneData seen = data;
  seen.statistics = &statistics;
  seen.orders = {};
  const PrunedWeights pruned = weights_of_plan(model, std::move(alone), nullptr, seen, pool);
  return {score, output_distance(half.outputs, raw_outputs(pruned.masked, data.calib->data,
                                                           half.feeds, data.collect.threads))};
}

// The group's scores become distances, as one layer's do.
void to_distances(std::span<const SensitivityPoint> points, const std::vector<size_t>& group,
                  ScoredPlan& scored) {
  BlockScores all = joined(scored, group);
  scores_to_distances(points, all);
  auto from = all.scores.begin();
  for (const size_t i : group) {
    std::vector<float>& to = scored.scores[i].scores;
    std::copy_n(from, to.size(), to.begin());
    from += static_cast<std::ptrdiff_t>(to.size());
  }
}

}  // namespace

std::vector<Feed> raw_outputs(const Model& squashed, const DataSet& data,
                              const std::vector<Feed>& feeds, size_t threads, bool always_packed) {
  const Model model = data.states.empty() ? with_raw_outputs(squashed) : squashed;
  Executor executor(model, {.threads = threads, .always_packed = always_packed});
  std::vector<Feed> outputs;
  run_feeds(executor, model, data, feeds,
            [&](size_t, const Feed& output) { outputs.push_back(output); });
  return outputs;
}

void drop_nan(std::vector<Feed>& feeds, std::vector<Feed>& outputs) {
  const auto holds_nan = [](const Feed& feed) {
    return std::ranges::any_of(feed, [](const auto& one) {
      return is_float(one.second.dtype()) &&
             std::ranges::any_of(to_f32(one.second), [](float v) { return std::isnan(v); });
    });
  };
  std::vector<Feed> good_feeds, good_outputs;
  for (size_t i = 0; i < feeds.size(); ++i) {
    if (holds_nan(outputs[i])) continue;
    good_feeds.push_back(feeds[i]);
    good_outputs.push_back(outputs[i]);
  }
  if (good_feeds.empty()) return;
  feeds = std::move(good_feeds);
  outputs = std::move(good_outputs);
}

double output_distance(const std::vector<Feed>& a, const std::vector<Feed>& b) {
  Comparer comparer({});
  for (size_t i = 0; i < a.size(); ++i) comparer.add(a[i], b[i]);
  double sum = 0;
  for (const OutputDifference& output : comparer.result().outputs)
    sum += output.relative_error * output.relative_error;
  return sum;
}

namespace {

// All that distances follow from besides what a ScoreStore is for; nothing where some scores are no
// part of it.
std::string scanned(const ScoredPlan& scored) {
  std::string what = fmt::format("scan {}\n", scored.plan.options.refit);
  for (size_t i = 0; i < scored.shared.size(); ++i) {
    if (!scored.shared[i]) continue;
    if (scored.made_of[i].empty()) return "";
    what += scored.made_of[i] + "\n";
  }
  return what;
}

size_t shared_scores(const ScoredPlan& scored) {
  size_t count = 0;
  for (size_t i = 0; i < scored.shared.size(); ++i)
    count += scored.shared[i] ? scored.scores[i].scores.size() : 0;
  return count;
}

// The distances of an earlier scan take the place of the scores.
bool find_distances(const PruneData& data, const std::string& what, ScoredPlan& scored) {
  const auto found = data.store->find(what);
  if (!found || found->size() != shared_scores(scored)) return false;
  auto from = found->begin();
  for (size_t i = 0; i < scored.shared.size(); ++i) {
    if (!scored.shared[i]) continue;
    std::vector<float>& to = scored.scores[i].scores;
    std::copy_n(from, to.size(), to.begin());
    from += static_cast<std::ptrdiff_t>(to.size());
  }
  scored.distances = true;
  return true;
}

void keep_distances(const PruneData& data, const std::string& what, const ScoredPlan& scored) {
  std::vector<float> all;
  for (size_t i = 0; i < scored.shared.size(); ++i) {
    const std::vector<float>& scores = scored.scores[i].scores;
    if (scored.shared[i]) all.insert(all.end(), scores.begin(), scores.end());
  }
  data.store->keep(what, all);
}

}  // namespace

void scan_sensitivity(const Model& model, const PruneData& data, ScoredPlan& scored,
                      ThreadPool& pool) {
  const Stage stage("sensitivity scan");
  const std::string what = data.store == nullptr ? "" : scanned(scored);
  if (!what.empty() && find_distances(data, what, scored)) return;
  const std::vector<ScanHalf> halves = halves_of(model, data);
  const std::vector<std::vector<size_t>> groups = groups_of(scored);
  std::vector<std::array<SensitivityPoint, kScanLevels.size()>> points(groups.size());
  const auto scan = [&](size_t index, const ScanHalf& half, const Statistics& statistics) {
    const double zeros = zero_score_share(joined(scored, groups[index]).scores);  // gone already
    for (size_t i = 0; i < kScanLevels.size(); ++i) {
      const double level = zeros + (1 - zeros) * kScanLevels[i];
      const SensitivityPoint one =
          scan_one(model, data, scored, groups[index], level, half, statistics, pool);
      SensitivityPoint& point = points[index][i];
      point.score = one.score;
      point.distance += one.distance / static_cast<double>(halves.size());
    }
  };
  Progress progress("sensitivity scan", groups.size() * halves.size());
  for (const ScanHalf& half : halves) {
    for (const Run& run : runs_of(groups, data)) {
      std::optional<Statistics> own;
      if (half.seen)
        own = statistics_of(model, data, *half.seen,
                            std::span(groups).subspan(run.first, run.count));
      for (size_t i = run.first; i < run.first + run.count; ++i, progress.step())
        scan(i, half, own ? *own : *data.statistics);
    }
  }
  for (size_t i = 0; i < groups.size(); ++i) to_distances(points[i], groups[i], scored);
  scored.distances = true;
  if (!what.empty()) keep_distances(data, what, scored);
}

}  // namespace espalier
