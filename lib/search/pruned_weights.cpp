#include "lib/search/pruned_weights.h"

#include <cmath>

#include "lib/base/log.h"
#include "lib/calibrate/sequential.h"
#include "lib/calibrate/token_mask.h"
#include "lib/prune/refit/apply_plan.h"
#include "lib/search/expected_times.h"
#include "lib/search/sensitivity_scan.h"

namespace espalier {
namespace {

// Feeds run through two models side by side.
MakePairedPass paired_pass(const CalibrationFeeds& calib, size_t threads) {
  return [&calib, threads](const Model& unchanged, const Model& changed) -> PairedPass {
    return [&, threads](ProductObserver& a, ProductObserver& b, const std::function<void()>& fed) {
      TokenMask masked_a(a, unchanged), masked_b(b, changed);
      const bool mask = !calib.data.token_mask.empty();
      Executor first(unchanged, {.threads = threads, .observer = mask ? &masked_a : &a});
      Executor second(changed, {.threads = threads, .observer = mask ? &masked_b : &b});
      FeedRunner one(first, unchanged, calib.data.states), two(second, changed, calib.data.states);
      Progress progress("inputs", calib.feeds.size());
      for (const Feed& feed : calib.feeds) {
        if (mask) {
          masked_a.set(mask_of(feed, calib.data.token_mask));
          masked_b.set(mask_of(feed, calib.data.token_mask));
        }
        one.run(feed);
        two.run(feed);
        fed();
        progress.step();
      }
    };
  };
}

std::vector<std::string> state_outputs(const DataSet& data) {
  std::vector<std::string> names;
  for (const auto& [input, output] : data.states) names.push_back(output);
  return names;
}

// In order wins by this much alone: on few feeds a small advantage is often none on others.
constexpr double kClearly = 0.93;

OrderChoice compare_orders(const Model& dense, const Model& at_once, const Model& in_turn,
                           const PruneData& data) {
  std::vector<Feed> feeds = data.orders.apart;
  const auto outputs = [&](const Model& model) {
    return raw_outputs(model, data.calib->data, feeds, data.collect.threads);
  };
  std::vector<Feed> expected = outputs(dense);
  drop_nan(feeds, expected);
  OrderChoice choice;
  choice.feeds = feeds.size();
  choice.at_once = std::sqrt(output_distance(expected, outputs(at_once)));
  choice.in_turn = std::sqrt(output_distance(expected, outputs(in_turn)));
  choice.in_order = choice.in_turn < kClearly * choice.at_once;
  return choice;
}

void refit_in_order(const Model& model, const ScoredPlan* scored, const PruneData& data,
                    PrunePlan& plan, Refitted& refitted, ThreadPool& pool) {
  const SequentialOptions options{data.collect, state_outputs(data.calib->data)};
  prune_in_order(model, scored, plan, refitted, paired_pass(*data.calib, data.collect.threads),
                 options, pool);
}

struct Tried {
  PrunePlan plan;
  Refitted refitted;
};

Tried tried_in_order(const Model& model, const ScoredPlan* scored, const PruneData& data,
                     const PrunePlan& plan, const Refitted& refitted, ThreadPool& pool) {
  Tried tried{plan, refitted};
  refit_in_order(model, scored, data, tried.plan, tried.refitted, pool);
  return tried;
}

// Whether what layers are multiplied with takes so few multiply-adds to sum up that going through the
// layers once more costs next to nothing: a count, so that every machine does the same.
bool few_sums(const Statistics& statistics) {
  constexpr double kFew = 1e9;
  double sums = 0;
  for (const LayerStatistics& layer : statistics.layers) {
    for (const InputMoments& input : layer.inputs)
      sums += static_cast<double>(input.samples) * static_cast<double>(input.second.count());
  }
  return sums <= kFew;
}

// Prunes in order next to what was pruned at once, by the same feeds, and leaves in `plan` and
// `refitted` what changes the outputs of the feeds apart less, made of all feeds where those apart
// calibrate, too.
OrderChoice choose_order(const Model& model, const ScoredPlan* scored, const PruneData& data,
                         PrunePlan& plan, Refitted& refitted, ThreadPool& pool) {
  const ExpectedTimes times(model, plan.options, data, pool.threads());
  const bool again = data.orders.again;
  const bool joins = again || (data.orders.others != nullptr && few_sums(*data.statistics));
  Progress progress("order", ExpectedSeconds{{times.refit(), times.in_order(), times.compare(),
                                              joins ? times.in_order() : 0}});
  const WithoutApart seen(data);
  std::optional<Refitted> by_fewer;
  if (data.orders.others != nullptr) by_fewer = refit(model, plan, *data.orders.others, pool);
  progress.step();
  const Refitted& at_once = by_fewer ? *by_fewer : refitted;
  Tried in_turn = tried_in_order(model, scored, seen.data(), plan, at_once, pool);
  progress.step();
  const OrderChoice choice = compare_orders(model, at_once.model, in_turn.refitted.model, data);
  progress.step();
  if (!choice.in_order) return choice;
  if (again) {
    refit_in_order(model, scored, data, plan, refitted, pool);
    return choice;
  }
  plan = std::move(in_turn.plan);
  if (!joins) {
    refitted = std::move(in_turn.refitted);
    return choice;
  }
  // What was chosen is refitted by all feeds.
  refitted = refit(model, plan, *data.statistics, pool);
  refit_in_order(model, nullptr, data, plan, refitted, pool);
  return choice;
}

}  // namespace

WithoutApart::WithoutApart(const PruneData& data) : data_(data) {
  if (data.orders.others == nullptr) return;
  fewer_ = *data.calib;
  fewer_.feeds.resize(fewer_.feeds.size() - data.orders.apart.size());
  data_.calib = &fewer_;
  data_.statistics = data.orders.others;
}

PrunedWeights weights_of_plan(const Model& model, PrunePlan plan, const ScoredPlan* scored,
                              const PruneData& data, ThreadPool& pool) {
  if (data.statistics == nullptr || !plan.options.refit) {
    Model masked = apply_plan(model, plan, pool);
    return {std::move(plan), std::move(masked), {}, 0, std::nullopt};
  }
  const Stage stage("refit");
  const ExpectedTimes times(model, plan.options, data, pool.threads());
  Progress progress("refit", ExpectedSeconds{{times.refit(), times.weights() - times.refit()}});
  Refitted refitted = refit(model, plan, *data.statistics, pool);
  progress.step();
  std::optional<OrderChoice> order;
  if (plan.options.sequential) {
    refit_in_order(model, scored, data, plan, refitted, pool);
  } else if (!data.orders.apart.empty()) {
    order = choose_order(model, scored, data, plan, refitted, pool);
  }
  return {std::move(plan), std::move(refitted.model), std::move(refitted.biases),
          refitted.rows_kept, order};
}

Model pruned_by_magnitude(const Model& model, const std::vector<Layer>& layers,
                          PruneOptions options, double sparsity, ThreadPool& pool) {
  options.method = "l2";
  options.scope = "layer";
  options.refit = false;
  options.sequential = false;
  options.sparsity = sparsity;
  for (LayerRule& rule : options.rules) rule.options.method.reset();
  return apply_plan(model, plan_at_once(model, layers, options, pool, nullptr), pool);
}

}  // namespace espalier
