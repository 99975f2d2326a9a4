#include "lib/prune/choose/make_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "lib/base/error.h"
#include "lib/base/fnv1a.h"
#include "lib/base/log.h"
#include "lib/prune/choose/by_position.h"
#include "lib/prune/choose/choose_blocks.h"
#include "lib/prune/choose/default_method.h"
#include "lib/prune/choose/scored_plan.h"
#include "lib/prune/options/layer_rule.h"
#include "lib/prune/score/criterion.h"
#include "lib/prune/score/layer_moments.h"
#include "lib/prune/select/layer_bias.h"
#include "lib/prune/select/window_positions.h"

namespace espalier {
namespace {

// Numbers drawn for a layer depend on its name alone, not on its index.
uint64_t seed_of(const std::string& name, uint64_t seed) {
  return fnv1a(std::as_bytes(std::span(name)), fnv1a({}) ^ seed);
}

LayerPlan planned(const Layer& layer, const LayerSettings& settings, bool keep_diagonal) {
  LayerPlan plan;
  plan.layer = layer;
  plan.block = settings.block;
  plan.nm = settings.nm;
  plan.method =
      settings.method_by_cost ? default_method(layer.fold, settings.block) : settings.method;
  if (plan.method != settings.method)
    plan.obs_multiply_adds = obs_multiply_adds(layer.fold, settings.block);
  plan.sparsity = settings.sparsity;
  plan.diagonal = keep_diagonal && layer.square;
  plan.layer.left_out = left_out_reason(layer, settings);
  return plan;
}

// What is stored as i8 stays so, also where refit makes floats of it.
std::string stored_values(const Weight& weight, const PruneOptions& options) {
  if (!options.values.empty() || !weight.is_sparse()) return "";
  return weight.sparse().values.dtype() == DType::kI8 ? "i8" : "";
}

// The statistics that a layer's criterion needs. Where there are none its method becomes l2.
class Moments {
 public:
  Moments(const Model& model, const PruneOptions& options, const std::vector<Layer>& layers,
          const Statistics* statistics)
      : model_(model), statistics_(statistics) {
    centred_.assign(layers.size(), false);
    if (statistics == nullptr || !options.refit) return;
    const auto biases = layer_biases(model, layers);
    for (size_t i = 0; i < layers.size(); ++i) centred_[i] = biases[i].has_value();
  }

  std::optional<LayerMoments> of(LayerPlan& plan, size_t index) {
    if (!find_criterion(plan.method)->needs_moments) return std::nullopt;
    if (statistics_ == nullptr) {
      throw Error(Fault::kUsage, fmt::format("method {} requires calibration data", plan.method));
    }
    auto moments = layer_moments(model_, plan.layer, *statistics_, centred_[index]);
    if (!moments) {
      warn(
          fmt::format("weight {}: the statistics do not cover its inputs, so blocks are chosen by "
                      "l2 instead of {}",
                      plan.layer.weight, plan.method));
      plan.method = "l2";
      plan.obs_multiply_adds = 0;
    } else {
      look_at_samples(plan, *moments);
    }
    return moments;
  }

  bool centred(size_t index) const { return centred_[index]; }

 private:
  void look_at_samples(const LayerPlan& plan, const LayerMoments& moments) {
    for (const MomentGroup& group : moments.groups) {
      if (warned_ || group.samples >= plan.layer.fold.cols) continue;
      warn(fmt::format(
          "weight {}: {} samples for {} inputs: more calibration data would improve the result",
          plan.layer.weight, group.samples, plan.layer.fold.cols));
      warned_ = true;
    }
  }

  const Model& model_;
  const Statistics* statistics_;
  std::vector<bool> centred_;
  bool warned_ = false;
};

// The rows that pruning is to come near to (wanted_weights), those with NaN or infinities as they
// are.
Tensor wanted_from(const Tensor& dense, const Fold& fold, const LayerMoments& moments) {
  if (std::ranges::all_of(moments.groups,
                          [](const MomentGroup& group) { return group.target.size() == 0; }))
    return dense;
  const std::vector<float> from = to_f32(dense);
  std::vector<float> to = from;
  Eigen::MatrixXd rows(static_cast<Eigen::Index>(fold.rows), static_cast<Eigen::Index>(fold.cols));
  for (size_t part = 0; part < fold.parts; ++part) {
    for (size_t r = 0; r < fold.rows; ++r) {
      for (size_t c = 0; c < fold.cols; ++c)
        rows(static_cast<Eigen::Index>(r), static_cast<Eigen::Index>(c)) =
            from[fold.offset(part, r, c)];
    }
    const Eigen::MatrixXd wanted = wanted_weights(rows, moments.of_part(part));
    for (size_t r = 0; r < fold.rows; ++r) {
      if (!wanted.row(static_cast<Eigen::Index>(r)).allFinite()) continue;
      for (size_t c = 0; c < fold.cols; ++c)
        to[fold.offset(part, r, c)] =
            static_cast<float>(wanted(static_cast<Eigen::Index>(r), static_cast<Eigen::Index>(c)));
    }
  }
  return from_f32(to, DType::kF32, dense.shape());
}

// A criterion that sees groups of N:M as neighbours: those of a convolution are channels of one
// window position.
void score_by_position(const Criterion& criterion, ScoreContext context, size_t positions,
                       ThreadPool& pool, std::vector<float>& scores) {
  const Fold& fold = context.weight.fold;
  const ByPosition order{fold.cols / positions, positions};
  const std::vector<float> weights = order.weights({context.weight.data, fold.count()}, fold);
  std::optional<LayerMoments> moments;
  if (context.moments != nullptr) moments = order.moments(*context.moments);
  context.weight.data = weights.data();
  context.moments = moments ? &*moments : nullptr;
  context.run = order.channels;
  criterion.score_layer(context, pool, scores);
  scores = order.scores_back(scores, fold);
}

// Scores of all blocks of one layer by the plan's method: of its weights, or of those that pruning
// is to come near to where there are moments.
BlockScores score_layer(const Model& model, const LayerPlan& plan, const LayerMoments* moments,
                        uint64_t seed, ThreadPool& pool) {
  const Weight& weight = weight_of(model, plan.layer);
  Tensor dense = as_f32(dense_of(weight));
  if (moments != nullptr) dense = wanted_from(dense, plan.layer.fold, *moments);
  BlockScores result{plan.layer.fold, plan.block, plan.diagonal, {}};
  const BlockMask grid(plan.block, {0, plan.layer.fold.rows, plan.layer.fold.cols}, true);
  const size_t rows = plan.layer.fold.parts * grid.grid_rows();
  result.scores.resize(rows * grid.grid_cols());
  ScoreContext context{{dense.data<float>().data(), plan.layer.fold},
                       plan.block,
                       plan.diagonal,
                       seed_of(plan.layer.weight, seed),
                       moments,
                       plan.nm ? plan.nm->keep : 0,
                       plan.nm ? plan.nm->of : 0,
                       plan.sparsity};
  const Criterion& criterion = *find_criterion(plan.method);
  if (criterion.score_layer != nullptr) {
    if (plan.nm && window_positions(plan.layer) > 1) {
      score_by_position(criterion, context, window_positions(plan.layer), pool, result.scores);
    } else {
      criterion.score_layer(context, pool, result.scores);
    }
    return result;
  }
  const size_t tasks = std::min(rows, 4 * pool.threads());
  pool.for_each(tasks, [&](size_t i) {
    criterion.score(context, rows * i / tasks, rows * (i + 1) / tasks, result.scores);
  });
  return result;
}

// Says once that a model holds NaN weights, naming the first: their blocks score infinity.
class NanWarning {
 public:
  void look_at(const Model& model, const LayerPlan& plan, const BlockScores& scores) {
    if (warned_) return;
    if (std::ranges::none_of(scores.scores, [](float s) { return std::isinf(s); })) return;
    const Weight& weight = weight_of(model, plan.layer);
    const std::vector<float> values =
        to_f32(weight.is_sparse() ? weight.sparse().values : weight.dense());
    if (std::ranges::none_of(values, [](float v) { return std::isnan(v); })) return;
    warn(fmt::format("weight {} contains NaN: the blocks that contain it are kept",
                     plan.layer.weight));
    warned_ = true;
  }

 private:
  bool warned_ = false;
};

void choose_layer(const BlockScores& scores, const LayerSettings& settings, LayerPlan& plan,
                  ThreadPool& pool) {
  plan.mask = BlockMask(plan.block, plan.layer.fold, true);
  if (plan.nm) {
    keep_n_of_m(scores, *plan.nm, window_positions(plan.layer), plan.mask, pool);
  } else if (settings.gate_density.empty()) {
    const PartRange all{&scores, 0, scores.fold.parts, 1, &plan.mask};
    drop_lowest({&all, 1}, plan.sparsity, pool);
  } else {
    for (size_t part = 0; part < scores.fold.parts; ++part) {
      const PartRange gate{&scores, part, part + 1, 1, &plan.mask};
      drop_lowest({&gate, 1}, 1 - settings.gate_density[part % settings.gate_density.size()], pool);
    }
  }
}

// One threshold for all of them. Scores of different block shapes are brought to that of one
// weight. `distances`: whatever the methods were, scores are of one kind.
void choose_globally(const std::vector<const BlockScores*>& scores,
                     const std::vector<LayerPlan*>& plans, double sparsity, bool distances,
                     ThreadPool& pool) {
  std::vector<PartRange> ranges;
  for (size_t i = 0; i < plans.size(); ++i) {
    LayerPlan& plan = *plans[i];
    if (!distances && plan.method != plans[0]->method) {
      throw Error(Fault::kUsage,
                  fmt::format("scope global compares scores of one method: {} has {}, {} has {}",
                              printable(plans[0]->layer.weight), plans[0]->method,
                              printable(plan.layer.weight), plan.method));
    }
    plan.mask = BlockMask(plan.block, plan.layer.fold, true);
    const double power = distances ? 1 : find_criterion(plan.method)->area_power;
    const double scale = std::pow(static_cast<double>(plan.block.area()), -power);
    ranges.push_back({scores[i], 0, plan.layer.fold.parts, static_cast<float>(scale), &plan.mask});
  }
  drop_lowest(ranges, sparsity, pool);
}

double scoring_cost(const LayerPlan& plan) {
  if (!plan.layer.left_out.empty()) return 0;
  const auto cost = find_criterion(plan.method)->multiply_adds;
  return static_cast<double>(plan.layer.fold.count()) +
         (cost == nullptr ? 0 : cost(plan.layer.fold, plan.block));
}

// All that the scores of a layer follow from besides the model and its statistics.
std::string made_of(const LayerPlan& plan, const PruneOptions& options, bool centred) {
  const Criterion& criterion = *find_criterion(plan.method);
  if (!criterion.needs_moments) return "";
  return fmt::format("{} {} {} {} {} {} {}\n{}", plan.method, to_string(plan.block),
                     plan.nm ? to_string(*plan.nm) : "-", plan.diagonal, centred,
                     criterion.one_sparsity ? plan.sparsity : -1, options.seed, plan.layer.weight);
}

BlockScores score_or_find(const Model& model, const LayerPlan& plan, const LayerMoments* moments,
                          const std::string& what, uint64_t seed, ThreadPool& pool,
                          const ScoreStore* store) {
  if (store == nullptr || what.empty()) return score_layer(model, plan, moments, seed, pool);
  const BlockMask grid(plan.block, plan.layer.fold, true);
  if (auto found = store->find(what); found && found->size() == grid.blocks())
    return {plan.layer.fold, plan.block, plan.diagonal, std::move(*found)};
  BlockScores scores = score_layer(model, plan, moments, seed, pool);
  store->keep(what, scores.scores);
  return scores;
}

// Scores layer after layer; done(scored, i) follows each.
template <typename Done>
ScoredPlan score_layers(const Model& model, const std::vector<Layer>& layers,
                        const PruneOptions& options, ThreadPool& pool, const Statistics* statistics,
                        const ScoreStore* store, const Done& done) {
  ScoredPlan scored;
  scored.plan.options = options;
  scored.settings = layer_settings(layers, options);
  scored.scores.resize(layers.size());
  scored.made_of.resize(layers.size());
  scored.shared.resize(layers.size());
  scored.plan.layers.reserve(layers.size());
  NanWarning nan;
  Moments all_moments(model, options, layers, statistics);
  Progress progress("score", scoring_costs(layers, options));
  for (size_t i = 0; i < layers.size(); ++i, progress.step()) {
    const LayerSettings& settings = scored.settings[i];
    LayerPlan& layer =
        scored.plan.layers.emplace_back(planned(layers[i], settings, options.keep_diagonal));
    if (!layer.layer.left_out.empty()) continue;
    layer.values = stored_values(weight_of(model, layer.layer), options);
    const std::optional<LayerMoments> moments = all_moments.of(layer, i);
    scored.made_of[i] = made_of(layer, options, all_moments.centred(i));
    scored.scores[i] = score_or_find(model, layer, moments ? &*moments : nullptr, scored.made_of[i],
                                     options.seed, pool, store);
    nan.look_at(model, layer, scored.scores[i]);
    weight_of(model, layer.layer).give_back();
    // A layer that lacks statistics, or is too wide for obs, has scores of another kind: it reaches
    // the target by itself, unless a scan makes distances of all scores.
    const bool scanned = options.scope == "sensitivity" && layer.method != "l2";
    const bool other_kind = layer.method != settings.method && !scanned;
    scored.shared[i] = options.scope != "layer" && !settings.own_target && !other_kind;
    done(scored, i);
  }
  return scored;
}

}  // namespace

std::vector<double> scoring_costs(const std::vector<Layer>& layers, const PruneOptions& options) {
  const std::vector<LayerSettings> settings = layer_settings(layers, options);
  std::vector<double> costs;
  for (size_t i = 0; i < layers.size(); ++i)
    costs.push_back(scoring_cost(planned(layers[i], settings[i], options.keep_diagonal)));
  return costs;
}

ScoredPlan score_plan(const Model& model, const std::vector<Layer>& layers,
                      const PruneOptions& options, ThreadPool& pool, const Statistics* statistics,
                      const ScoreStore* store) {
  return score_layers(model, layers, options, pool, statistics, store,
                      [](const ScoredPlan&, size_t) {});
}

PrunePlan choose_plan(const ScoredPlan& scored, double sparsity, ThreadPool& pool) {
  PrunePlan plan = scored.plan;
  plan.options.sparsity = sparsity;
  std::vector<const BlockScores*> shared_scores;
  std::vector<LayerPlan*> shared;
  for (size_t i = 0; i < plan.layers.size(); ++i) {
    LayerPlan& layer = plan.layers[i];
    if (!layer.layer.left_out.empty()) continue;
    if (!scored.settings[i].own_target) layer.sparsity = sparsity;
    if (scored.shared[i]) {
      shared_scores.push_back(&scored.scores[i]);
      shared.push_back(&layer);
    } else {
      choose_layer(scored.scores[i], scored.settings[i], layer, pool);
    }
  }
  if (!shared.empty()) {
    choose_globally(shared_scores, shared, sparsity, scored.distances, pool);
  }
  return plan;
}

std::vector<LayerPlan> choose_together(const ScoredPlan& scored, std::span<const size_t> indices,
                                       double sparsity, ThreadPool& pool) {
  std::vector<LayerPlan> plans;
  for (const size_t index : indices) {
    plans.push_back(scored.plan.layers[index]);
    plans.back().mask = BlockMask(plans.back().block, plans.back().layer.fold, true);
  }
  std::vector<PartRange> ranges;
  for (size_t i = 0; i < plans.size(); ++i) {
    const BlockScores& scores = scored.scores[indices[i]];
    ranges.push_back({&scores, 0, scores.fold.parts, 1, &plans[i].mask});
  }
  drop_lowest(ranges, sparsity, pool);
  return plans;
}

LayerPlan choose_again(const Model& model, const ScoredPlan& scored, const LayerPlan& chosen,
                       size_t index, const Statistics& statistics, bool centred, ThreadPool& pool) {
  if (!find_criterion(chosen.method)->needs_moments) return chosen;
  const auto moments = layer_moments(model, chosen.layer, statistics, centred);
  if (!moments) return chosen;
  LayerPlan plan = chosen;
  const BlockScores scores = score_layer(model, plan, &*moments, scored.plan.options.seed, pool);
  if (scored.shared[index]) plan.sparsity = dropped_share(scores, chosen.mask);
  choose_layer(scores, scored.settings[index], plan, pool);
  plan.sparsity = chosen.sparsity;
  return plan;
}

PrunePlan make_plan(const Model& model, const PruneOptions& options, ThreadPool& pool,
                    const Statistics* statistics) {
  return plan_at_once(model, select_layers(model, options.select), options, pool, statistics);
}

PrunePlan plan_at_once(const Model& model, const std::vector<Layer>& layers,
                       const PruneOptions& options, ThreadPool& pool, const Statistics* statistics,
                       const ScoreStore* store) {
  // Scores that no other layer's are compared with need not be kept.
  const auto choose = [&](ScoredPlan& scored, size_t i) {
    if (scored.shared[i]) return;
    LayerPlan& layer = scored.plan.layers[i];
    if (!scored.settings[i].own_target) layer.sparsity = options.sparsity;
    choose_layer(scored.scores[i], scored.settings[i], layer, pool);
    scored.scores[i] = {};
  };
  ScoredPlan scored = score_layers(model, layers, options, pool, statistics, store, choose);
  scored.plan.options.sparsity = options.sparsity;
  if (std::ranges::none_of(scored.shared, [](bool shared) { return shared; }))
    return std::move(scored.plan);
  std::vector<const BlockScores*> shared_scores;
  std::vector<LayerPlan*> shared;
  for (size_t i = 0; i < scored.shared.size(); ++i) {
    if (!scored.shared[i]) continue;
    shared_scores.push_back(&scored.scores[i]);
    shared.push_back(&scored.plan.layers[i]);
  }
  for (LayerPlan* layer : shared) layer->sparsity = options.sparsity;
  choose_globally(shared_scores, shared, options.sparsity, scored.distances, pool);
  return std::move(scored.plan);
}

}  // namespace espalier
