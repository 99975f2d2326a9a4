#include "lib/search/advise.h"

#include <algorithm>
#include <iterator>

#include "lib/prune/choose/make_plan.h"
#include "lib/prune/pack/pack_weights.h"
#include "lib/prune/refit/apply_plan.h"
#include "lib/verify/quantile.h"
#include "lib/verify/speed.h"

namespace espalier {
namespace {

// Where packed time is measured, rising: what the report shows, and a point further down for the lines,
// which say from where on packed is faster. Times do not lie on a line: read between 60 and 90 %, a model
// of long convolutions was predicted to take 1.2 times what it takes at 80 %.
constexpr double kMeasured[] = {0.6, 0.8, 0.9};

TimeLine line_through(double dense, const std::vector<TimePoint>& points) {
  TimeLine line = fit_line(dense, points);
  line.measured = points;
  return line;
}

PrunePlan random_plan(const AdviseSubject& subject, BlockShape block, double sparsity,
                      uint64_t seed, ThreadPool& pool) {
  PruneOptions options;
  options.block = block;
  options.sparsity = sparsity;
  options.method = "random";
  options.refit = false;
  options.seed = seed;
  return make_plan(subject.models.before, options, pool);
}

TimeLine sum(const TimeLine& a, const TimeLine& b) {
  return {a.dense + b.dense, a.fixed + b.fixed, a.per_density + b.per_density, {}};
}

AdviseRow row_of(const TimeLine& line, BlockShape block) {
  AdviseRow row;
  row.block = to_string(block);
  row.break_even = line.break_even();
  row.worth = line.worth();
  row.ms_dense = line.dense;
  row.ms_packed_80 = line.packed(0.8);
  row.ms_packed_90 = line.packed(0.9);
  return row;
}

// The block that is quickest at 80 % zeros.
const BlockTimes& best_of(const std::vector<BlockTimes>& all) {
  return *std::ranges::min_element(all, [](const BlockTimes& a, const BlockTimes& b) {
    return a.model.packed(0.8) < b.model.packed(0.8);
  });
}

// Times of a model or a layer at each point of kMeasured: the dense ones, and packed over dense. Both run
// in turns, so that a machine that is slower for a while is slower for both: the ratio says more than the time.
struct Measured {
  std::vector<double> dense, ratio, at;

  void add(double sparsity, double dense_ms, double packed_ms) {
    at.push_back(sparsity);
    dense.push_back(dense_ms);
    ratio.push_back(packed_ms / dense_ms);
  }

  TimeLine line() const {
    const double middle = median(dense);
    std::vector<TimePoint> points;
    for (size_t i = 0; i < at.size(); ++i) points.push_back({at[i], ratio[i] * middle});
    return line_through(middle, points);
  }
};

}  // namespace

// Prunes at random to each sparsity and fits a line through the times of each, for the model and its
// layers.
BlockTimes measure_block(const AdviseSubject& subject, BlockShape block, uint64_t seed,
                         ThreadPool& pool) {
  const size_t layers = subject.models.layers.size();
  Measured whole;
  std::vector<Measured> layer(layers);
  for (const double sparsity : kMeasured) {
    PackedModels models = subject.models;
    const PrunePlan plan = random_plan(subject, block, sparsity, seed, pool);
    models.masked = apply_plan(models.before, plan, pool);
    models.packed = pack_weights(models.before, plan, pool);
    const SpeedChecks speed = measure_speed(models, subject.evaluation, subject.options);
    whole.add(sparsity, speed.ms_dense, speed.ms_packed);
    for (size_t i = 0; i < layers; ++i) {
      if (speed.layer_dense[i] && speed.layer_packed[i] && *speed.layer_dense[i] > 0)
        layer[i].add(sparsity, *speed.layer_dense[i], *speed.layer_packed[i]);
    }
  }
  BlockTimes times{block, whole.line(), {}};
  for (const Measured& of_layer : layer)
    times.layers.push_back(of_layer.at.empty() ? std::nullopt : std::optional(of_layer.line()));
  return times;
}

BlockTimes predict_block(const AdviseSubject& subject, const KernelResults& machine,
                         BlockShape block, const SampleCounter& samples) {
  BlockTimes times{block, {}, {}};
  for (size_t i = 0; i < subject.models.layers.size(); ++i) {
    const Layer& layer = subject.models.layers[i];
    const SampleCounter::Seen& seen = samples.of(i);
    times.layers.emplace_back();
    if (!layer.left_out.empty() || seen.products == 0) continue;
    TimeLine line =
        predict(machine, block, layer.fold.rows * layer.fold.parts, layer.fold.cols, seen.n);
    const auto products = static_cast<double>(seen.products);
    line = {line.dense * products, line.fixed * products, line.per_density * products, {}};
    times.layers.back() = line;
    times.model = sum(times.model, line);
  }
  return times;
}

// The model's row in its best block, one row per block, and one row per layer in that layer's best
// block.
AdviseResults advise_results(const AdviseSubject& subject, const std::vector<BlockTimes>& all,
                             const SampleCounter& samples) {
  AdviseResults results;
  for (const BlockTimes& times : all) results.blocks.push_back(row_of(times.model, times.block));
  results.model = row_of(best_of(all).model, best_of(all).block);
  for (size_t i = 0; i < subject.models.layers.size(); ++i) {
    const Layer& layer = subject.models.layers[i];
    const BlockTimes* best = nullptr;
    for (const BlockTimes& times : all) {
      if (!times.layers[i]) continue;
      if (best == nullptr || times.layers[i]->packed(0.8) < best->layers[i]->packed(0.8))
        best = &times;
    }
    AdviseRow row;
    if (best != nullptr) row = row_of(*best->layers[i], best->block);
    row.name = layer.node.empty() ? layer.weight : layer.node;
    row.node = layer.node;
    row.weight = layer.weight;
    row.matrix = {static_cast<int64_t>(layer.fold.parts * layer.fold.rows),
                  static_cast<int64_t>(layer.fold.cols)};
    row.n = samples.of(i).n;
    row.left_out = layer.left_out;
    if (best == nullptr && row.left_out.empty())
      row.left_out =
          "the time is counted at another weight of the same operator, or was not measured";
    results.layers.push_back(std::move(row));
  }
  return results;
}

}  // namespace espalier
