#include "apps/espalier/commands/prune.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <iterator>
#include <map>
#include <memory>

#include "apps/espalier/candidates.h"
#include "apps/espalier/command.h"
#include "apps/espalier/command_files.h"
#include "apps/espalier/finish.h"
#include "apps/espalier/layer_row.h"
#include "apps/espalier/mask_file.h"
#include "apps/espalier/mask_pictures.h"
#include "apps/espalier/metric_trial.h"
#include "apps/espalier/prune_notes.h"
#include "apps/espalier/prune_options.h"
#include "apps/espalier/prune_settings.h"
#include "apps/espalier/read_uncovered.h"
#include "formats/format.h"
#include "lib/base/log.h"
#include "lib/base/output_file.h"
#include "lib/calibrate/statistics_file.h"
#include "lib/kernels/simd_target.h"
#include "lib/prune/choose/default_method.h"
#include "lib/prune/choose/masks.h"
#include "lib/prune/options/layer_rule.h"
#include "lib/prune/options/recipe_json.h"
#include "lib/prune/pack/pack_weights.h"
#include "lib/prune/refit/apply_plan.h"
#include "lib/prune/score/criterion.h"
#include "lib/prune/score/statistics_fit.h"
#include "lib/runtime/executor.h"
#include "lib/search/advise.h"
#include "lib/search/expected_times.h"

namespace espalier {
namespace {

using OptionCells = std::vector<std::pair<std::string, Cell>>;

OptionCells option_cells(const PruneOptions& options, bool refitted, bool in_order,
                         const std::string& profile) {
  const std::string block = options.nm ? "1x1" : to_string(options.block);
  return {{"block", block},
          {"nm", options.nm ? Cell(to_string(*options.nm)) : Cell()},
          {"sparsity", options.nm ? 1.0 - static_cast<double>(options.nm->keep) / options.nm->of
                                  : options.sparsity},
          {"method", options.method},
          {"scope", options.scope},
          {"refit", refitted},
          {"sequential", refitted && (options.sequential || in_order)},
          {"values", cell_or_null(options.values)},
          {"profile", cell_or_null(profile)},
          {"seed", count_cell(options.seed)}};
}

// Of a run whose masks are given: nothing was chosen.
OptionCells given_masks_cells(const PruneSettings& settings, bool refitted) {
  return {{"masks", printable(settings.mask_in, 4096)},
          {"refit", refitted},
          {"values", cell_or_null(settings.request.options.values)},
          {"profile", cell_or_null(settings.destination.write.profile)}};
}

}  // namespace

LayerResult pruned_row(const PackedModels& models, const LayerPlan& plan,
                       const std::string& profile) {
  LayerResult row = layer_row(plan.layer, weight_of(models.before, plan.layer),
                              weight_of(models.packed, plan.layer), profile);
  row.zeros = zeros_left(models, plan);
  models.give_back(plan.layer);
  if (!row.left_out.empty()) return row;
  row.block = to_string(plan.block);
  row.pattern = plan.nm ? to_string(*plan.nm) : row.block;
  row.blocks = plan.mask.blocks();
  row.blocks_kept = plan.mask.kept_blocks();
  row.diagonal = plan.diagonal ? plan.layer.fold.parts * plan.layer.fold.rows : 0;
  row.method_used = plan.method;
  if (plan.obs_multiply_adds > 0) row.obs_multiply_adds = plan.obs_multiply_adds;
  return row;
}

namespace {

// Those of models.layers come first, then weights that are no constants.
std::vector<LayerResult> rows_of(const PackedModels& models, const PrunePlan& plan,
                                 const std::string& profile) {
  std::vector<LayerResult> rows, unstored;
  for (const LayerPlan& layer : plan.layers) {
    if (stored_weight(models.before, layer.layer) != nullptr) {
      rows.push_back(pruned_row(models, layer, profile));
    } else {
      unstored.push_back(unstored_row(layer.layer));
    }
  }
  std::ranges::move(unstored, std::back_inserter(rows));
  return rows;
}

// The model whose weights blocks are chosen by, and the one that is written.
struct Inputs {
  Model model;
  std::optional<Model> checkpoint;  // of --rewind, in place of the model from then on

  const Model& written() const { return checkpoint ? *checkpoint : model; }
};

Inputs read_inputs(const PruneSettings& settings) {
  const Stage stage("read");
  Inputs inputs{read_uncovered(settings.input, settings.common.threads), std::nullopt};
  if (!settings.rewind.empty())
    inputs.checkpoint = read_uncovered(settings.rewind, settings.common.threads);
  return inputs;
}

// Pruning layers in order takes a score of each layer more, and two runs of the model for each.
constexpr size_t kMostLayersInOrder = 64;
constexpr double kMostWorkInOrder = 1e12;
constexpr size_t kLeastFeedsInOrder = 4;  // three to prune by, one to judge by

// Counted for blocks of 16x1 whatever the blocks: the feeds held apart do not depend on these, so
// that a sweep calibrates once.
bool cheap_in_order(const std::vector<Layer>& layers) {
  double work = 0;
  for (const Layer& layer : layers)
    work += layer.left_out.empty() ? obs_multiply_adds(layer.fold, {16, 1}) : 0;
  return layers.size() <= kMostLayersInOrder && work <= kMostWorkInOrder;
}

}  // namespace

// What --calib names, or what its statistics keep.
CalibrationFeeds calibration_inputs(const PruneSettings& settings, const Model& model) {
  CalibrationFeeds result;
  if (settings.calib.kind == CalibrationSource::Kind::kStatistics) {
    const KeptInputs& kept = settings.calib.file->inputs;
    result.data.feeds = kept.feeds;
    result.data.states = kept.states;
    result.data.token_mask = kept.token_mask;
    result.feeds = kept.feeds;
    return result;
  }
  result.data = data_set(settings.calib.path, model, settings.data);
  result.feeds = make_feeds(model, result.data);
  return result;
}

Calibration calibration_feeds(const PruneSettings& settings, const Model& model,
                              const std::vector<Layer>& layers, EvaluationSource& evaluation) {
  if (!settings.calib.has_inputs()) return {};
  Calibration result{calibration_inputs(settings, model), {}};
  std::vector<Feed>& feeds = result.feeds.feeds;
  if (!result.feeds.data.states.empty()) return result;
  const bool enough = feeds.size() >= 10;
  const bool shared = enough && evaluation.run && evaluation.path == settings.calib.path;
  const bool orders = settings.tries_orders && feeds.size() >= kLeastFeedsInOrder &&
                      unsupported_operators(model).empty() &&
                      (settings.at_any_cost || cheap_in_order(layers));
  result.shared = shared;
  if (shared) evaluation.share = Share::kHeldOut;
  if (orders && enough) result.apart = share_of(feeds, Share::kHeldOut);
  if (orders && !enough) result.apart = {feeds.back()};
  if (enough && (shared || orders)) feeds = share_of(std::move(feeds), Share::kOthers);
  if (orders && !enough) feeds.pop_back();
  result.again = !enough;
  // Those that judge the result are never calibrated with.
  result.apart_joins = orders && !shared;
  if (result.apart_joins) feeds.insert(feeds.end(), result.apart.begin(), result.apart.end());
  return result;
}

// All that statistics follow from.
std::string made_of(const PruneSettings& settings, const std::vector<Layer>& layers,
                    const Calibration& calib) {
  const CalibrationSource& source = settings.calib;
  const DataOptions& data = settings.data;
  std::string text = fmt::format(
      "{}\n{}\n{}\n{} {} {} {}\n{} {} {} {}\n{} {} {} {} {}\n", ESPALIER_VERSION,
      model_digest(settings.input), data_digest(source.path), data.batch,
      fmt::join(data.states, ","), fmt::join(data.fills, ","), data.mask_tokens,
      source.collect.positions, source.collect.memory_bytes, source.collect.threads, simd_target(),
      calib.feeds.feeds.size(), calib.apart.size(), calib.apart_joins, calib.again, calib.shared);
  if (calib.apart_joins && !calib.again) text += "scores without the feeds apart\n";
  for (const Layer& layer : layers) {
    if (layer.left_out.empty()) text += layer.weight + "\n";
  }
  return text;
}

// The inputs of statistics serve the model that these were made with.
void check_fingerprints(const CalibrationSource& source, const Model& model,
                        const std::vector<Layer>& layers) {
  for (const Layer& layer : layers) {
    const LayerStatistics* found = source.file->statistics.find(layer.weight);
    if (found == nullptr || stored_weight(model, layer) == nullptr) continue;
    check_fit(model, layer, *found);
  }
}

CalibrationStatistics statistics_of(const PruneSettings& settings, const Model& given,
                                    const std::vector<Layer>& given_layers,
                                    const Calibration& calib) {
  const CalibrationSource& source = settings.calib;
  if (source.kind == CalibrationSource::Kind::kNone) return {};
  CalibrationStatistics result;
  if (!settings.cache.empty()) {
    result.cache = std::make_shared<const CalibrationCache>(settings.cache,
                                                            made_of(settings, given_layers, calib));
    result.store = result.cache->scores();
  }
  if (source.kind == CalibrationSource::Kind::kStatistics && !calib.apart_joins) {
    result.all = source.file->statistics;
    return result;
  }
  if (source.file != nullptr) check_fingerprints(source, given, given_layers);
  // Expanding functions leaves weights their names, and gives nodes new places.
  const Model model = runnable(given);
  const std::vector<Layer> layers = select_layers(model, settings.request.options.select);
  const DataSet& data = calib.feeds.data;
  const std::vector<Feed>& feeds = calib.feeds.feeds;
  const auto start = std::chrono::steady_clock::now();
  const size_t apart = calib.apart_joins ? calib.apart.size() : 0;
  const auto end = feeds.end() - static_cast<std::ptrdiff_t>(apart);
  Progress progress("calibrate", std::vector<double>{static_cast<double>(feeds.size() - apart),
                                                     static_cast<double>(apart)});
  CalibrationGaps gaps;
  const auto collected = [&](const char* part, const std::vector<Feed>& of) {
    const auto collect = [&](CalibrationGaps& found) {
      return calibrate(model, layers, data, of, source.collect, &found);
    };
    return result.cache ? result.cache->statistics(part, collect, gaps) : collect(gaps);
  };
  result.all = collected(apart == 0 ? "all" : "other", {feeds.begin(), end});
  progress.step();
  if (apart != 0) {
    result.others = std::move(result.all);
    result.all = merged(*result.others, collected("apart", calib.apart));
  }
  warn_of(gaps);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

OrderData orders_of(const Calibration& calib, const CalibrationStatistics& statistics) {
  return {calib.apart, statistics.others ? &*statistics.others : nullptr, calib.again};
}

std::optional<MetricPair> try_metric(const PruneSettings& settings, const Model& model,
                                     const Evaluation& evaluation) {
  std::optional<MetricPair> dense;
  const std::string& command = settings.data.metric_command;
  const bool written = !settings.destination.dry_run || needs_meter(settings.request);
  if (!command.empty() && written) {
    const std::string& input = settings.rewind.empty() ? settings.input : settings.rewind;
    const double value = try_metric_command(command, input, model, settings.destination);
    dense = MetricPair{"metric-cmd", value, value};
  }
  const std::optional<DropLimit> target = max_drop_of(settings);
  const auto bare = [](const std::optional<DropLimit>& limit) { return limit && !limit->share; };
  if (evaluation.labels) {
    dense.reset();
    if ((target || settings.assert_drop) && !evaluation.not_run.empty())
      throw Error(Fault::kUnsupported, "no metric can be measured: " + evaluation.not_run);
    if (bare(target) || bare(settings.assert_drop)) {
      const double value =
          labelled_metric_of(model, model, evaluation, {.threads = settings.common.threads});
      dense = MetricPair{evaluation.labels->name, value, value};
    }
  }
  if (dense && settings.assert_drop)
    check_bare_drop(*settings.assert_drop, dense->name, dense->a, "--assert-drop");
  if (dense && target) check_max_drop(*target, *dense, settings.line);
  return dense;
}

namespace {

// Prunes; for a target or a curve, candidates are measured on the way.
PruneResult pruned(const PruneSettings& settings, const Model& model, const PruneData& data,
                   const Evaluation& evaluation, const std::optional<MetricPair>& dense,
                   ThreadPool& pool) {
  PruneRequest request = settings.request;
  if (request.given_masks) request.masks = read_masks(settings.mask_in);
  if (!needs_meter(request)) return prune_model(model, request, data, {}, pool);
  CandidateMeter meter(
      {model, settings.input, settings.destination.output, settings.destination.write, evaluation,
       settings.data.metric_command, dense},
      settings.common, settings.machine ? &*settings.machine : nullptr, settings.machine_file);
  return prune_model(model, request, data, meter.functions(), pool);
}

void warn_of(const PrunedWeights& weights) {
  if (weights.rows_kept == 0) return;
  warn(
      fmt::format("{} rows were not refitted: they contain infinities or NaN, or the moments of "
                  "their inputs could not be factorised",
                  weights.rows_kept));
}

std::optional<double> command_before(const std::optional<MetricPair>& dense,
                                     const Evaluation& evaluation) {
  return dense && !evaluation.labels ? std::optional(dense->a) : std::nullopt;
}

// Packs what was pruned; the masks of a checkpoint are those found in the model.
PackedModels packed_models(Inputs inputs, PrunedWeights& weights, bool refitted, ThreadPool& pool) {
  PackedModels models;
  if (inputs.checkpoint) {
    weights.plan = retarget(weights.plan, *inputs.checkpoint);
    weights.masked = apply_plan(*inputs.checkpoint, weights.plan, pool);
    weights.biases.clear();
  } else {
    warn_of(weights);
  }
  const Stage stage("pack");
  models.before = inputs.checkpoint ? std::move(*inputs.checkpoint) : std::move(inputs.model);
  models.masked = std::move(weights.masked);
  models.biases = std::move(weights.biases);
  // Kept weights that nobody changed need not be masked first.
  const Model& from = refitted ? models.masked : models.before;
  models.packed = pack_weights(from, weights.plan, pool);
  for (const LayerPlan& plan : weights.plan.layers) {
    if (stored_weight(models.before, plan.layer) != nullptr) models.layers.push_back(plan.layer);
  }
  return models;
}

// --block auto: the block in which the model is fastest at 80 % zeros, as advise measures it.
BlockShape measured_block(const PruneSettings& settings, const Model& model,
                          const Evaluation& evaluation, ThreadPool& pool) {
  const Stage stage("block auto");
  if (!evaluation.not_run.empty())
    throw Error(Fault::kUnsupported,
                "--block auto: no time can be measured: " + evaluation.not_run);
  const AdviseSubject subject{unpruned(decode_weights(model)),
                              evaluation,
                              {.threads = settings.common.threads, .always_packed = true}};
  std::vector<BlockTimes> all;
  for (const char* name : {"16x1", "16x4", "8x1", "8x4", "4x8", "1x4"})
    all.push_back(measure_block(subject, parse_block_shape(name), settings.common.seed, pool));
  const SampleCounter samples = count_samples(subject.models, subject.evaluation, subject.options);
  return parse_block_shape(advise_results(subject, all, samples).model.block);
}

// Inputs on which the outputs of types of values are compared, where none are there to calibrate.
CalibrationFeeds feeds_of(const Evaluation& evaluation, const PruneSettings& settings) {
  if (settings.request.options.values == "auto" && !evaluation.not_run.empty())
    throw Error(Fault::kUnsupported,
                "--values auto: outputs cannot be compared: " + evaluation.not_run);
  return {evaluation.data, evaluation.feeds};
}

// A scan runs the model as it is written. Without one, losses that obs finds share a threshold.
void without_scan(const Model& model, PruneOptions& options) {
  if (options.scope != "sensitivity" || options.method != "obs") return;
  const std::vector<std::string> lacking = unsupported_operators(model);
  if (lacking.empty()) return;
  options.scope = "global";
  warn(
      fmt::format("scope global instead of sensitivity: layers are not tried one by one, as the "
                  "model runs only with its functions expanded: {}",
                  lacking.front()));
}

// How long stages will take, as far as that can be told before them: for the time left that is shown.
double prune_seconds(const PruneSettings& settings, const Model& model, const PruneData& data,
                     size_t threads) {
  if (settings.request.given_masks) return 0;
  const ExpectedTimes times(model, settings.request.options, data, threads);
  return times.score();
}

double check_seconds(const PruneData& data, const Evaluation& evaluation) {
  constexpr double kModels = 3, kTiming = 3;  // dense, decoded and packed
  const double feeds = std::max(1.0, static_cast<double>(data.calib->feeds.size()));
  return kModels * data.pass_seconds * static_cast<double>(evaluation.feeds.size()) / feeds +
         kTiming;
}

// The order is that of docs/architecture.md: read, evaluate, calibrate, prune, pack; finish() does
// the rest.
int run(const PruneSettings& given) {
  PruneSettings settings = given;
  ThreadPool pool(settings.common.threads);
  Inputs inputs = read_inputs(settings);
  check_selection(inputs.model, settings.request.options, settings.line, settings.input,
                  settings.request.given_masks);
  without_scan(inputs.model, settings.request.options);
  EvaluationSource source = settings.evaluation;
  const std::vector<Layer> layers = select_layers(inputs.model, settings.request.options.select);
  const Calibration calib = calibration_feeds(settings, inputs.model, layers, source);
  const Evaluation evaluation =
      read_evaluation(inputs.written(), source, settings.data, settings.common);
  const std::optional<MetricPair> dense = try_metric(settings, inputs.written(), evaluation);
  if (settings.block_auto)
    settings.request.options.block = measured_block(settings, inputs.written(), evaluation, pool);
  PruneData data{layers, nullptr, &calib.feeds, settings.calib.collect};
  Progress progress(
      "prune",
      ExpectedSeconds{{0, prune_seconds(settings, inputs.model, data, pool.threads()), 0}});
  CalibrationStatistics calibrated = statistics_of(settings, inputs.model, layers, calib);
  const bool has_statistics = calibrated.all.has_value();
  const CalibrationFeeds others = feeds_of(evaluation, settings);
  data.statistics = has_statistics ? &*calibrated.all : nullptr;
  data.store = calibrated.store ? &*calibrated.store : nullptr;
  data.orders = orders_of(calib, calibrated);
  data.others = &others;
  data.pass_seconds = calibrated.seconds;
  progress.step();
  progress.expect(2, check_seconds(data, evaluation));
  PruneResult result = pruned(settings, inputs.model, data, evaluation, dense, pool);
  calibrated = {};  // large, and not looked at any more
  progress.step();
  if (settings.request.given_masks) check_plan_selects(result.weights.plan, settings.mask_in);
  warn_of_noise(settings, result);
  const PruneOptions& options = result.options;
  const bool refitted = has_statistics && options.refit;
  PackedModels models = packed_models(std::move(inputs), result.weights, refitted, pool);
  if (has_statistics && settings.verify && settings.rewind.empty() && settings.mask_in.empty()) {
    models.magnitude = pruned_by_magnitude(models.before, layers, options, options.sparsity, pool);
  }
  const PrunePlan& plan = result.weights.plan;
  const std::string& profile = settings.destination.write.profile;
  Heading heading{
      "prune",
      settings.rewind.empty() ? settings.input : settings.rewind,
      settings.mask_in.empty()
          ? option_cells(options, refitted, result.weights.order && result.weights.order->in_order,
                         profile)
          : given_masks_cells(settings, refitted),
      {},
      std::move(result.curve),
      prune_notes(settings, result, calib.feeds.feeds.size(), evaluation),
      settings.run};
  if (!settings.common.html.empty()) heading.masks = mask_pictures(plan);
  if (result.reached) {
    heading.reached_sparsity = result.reached->sparsity;
    heading.reached_values = result.reached->values;
  }
  if (const auto limit = max_drop_of(settings); limit && result.dense)
    heading.metric_limit = worst_allowed(*limit, *result.dense);
  heading.rows = rows_of(models, plan, profile);
  if (!settings.mask_out.empty()) write_masks(settings.mask_out, masks_of(plan));
  if (!settings.save_recipe.empty())
    write_file(settings.save_recipe, as_bytes(settings.recipe_text(options)));
  for (LayerPlan& layer : result.weights.plan.layers) layer.mask = {};  // not looked at any more
  const int status = finish(models, evaluation, settings.destination, std::move(heading),
                            {settings.verify, settings.data.metric_command,
                             command_before(dense, evaluation), settings.assert_drop},
                            settings.common);
  if (status == kDone && settings.by_magnitude_unasked) {
    warn(
        "no calibration data was given: blocks were chosen by magnitude and the kept weights were "
        "not refitted; --calib DATA keeps more accuracy");
  }
  return status;
}

std::function<int()> add(CLI::App& app) {
  auto args = std::make_shared<PruneArgs>();
  app.add_option("IN", args->input, "model to prune")->required();
  app.add_option("OUT,-o,--output", args->output,
                 "model to write; the extension selects the format");
  add_prune_options(app, *args);
  add_common(app, args->common);
  add_footer(
      app,
      "  espalier prune model.onnx pruned.onnx --calib data/ --eval test/ --labels labels.npy "
      "--max-drop 1%\n"
      "  espalier prune model.onnx pruned.nnef.tgz --block 16x1 --sparsity 0.8\n"
      "  espalier prune model.onnx pruned.onnx --nm 2:4 --keep-first-last --json report.json");
  return [args] {
    apply_common(args->common);
    return run(prune_settings(*args));
  };
}

}  // namespace

constinit const Command prune_command{
    "prune", "prune the weakest blocks, pack the rest, verify and report", add};

}  // namespace espalier
