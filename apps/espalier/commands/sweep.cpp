#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <memory>

#include "apps/espalier/command.h"
#include "apps/espalier/commands/prune.h"
#include "apps/espalier/finish.h"
#include "apps/espalier/keyed_files.h"
#include "apps/espalier/prune_options.h"
#include "apps/espalier/read_uncovered.h"
#include "apps/espalier/sweep_grid.h"
#include "apps/espalier/sweep_results.h"
#include "lib/base/log.h"
#include "lib/base/sha256.h"
#include "lib/prune/choose/masks.h"
#include "lib/prune/options/recipe_json.h"
#include "lib/prune/pack/pack_weights.h"
#include "lib/prune/score/criterion.h"
#include "lib/search/pruner.h"
#include "lib/verify/model_runner.h"
#include "lib/verify/timing.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

// What the records are keyed by: all that their numbers follow from.
struct Digests {
  std::string common;  // of what all points share
  std::string sweep;   // with the grid

  std::string key(const SweepTask& task) const {
    return sha256(as_bytes(common + recipe_json(task.settings.request.options) + task.name));
  }
};

Digests digests_of(const SweepArgs& args, const std::vector<SweepTask>& tasks) {
  const PruneArgs& prune = args.prune;
  const PruneSettings& first = tasks.front().settings;
  const DataOptions& data = prune.data;
  std::string text =
      fmt::format("{}\n{}\n{}\n{}\n{}\n{}\n", ESPALIER_VERSION, model_digest(prune.input),
                  data_digest(prune.calib), data_digest(prune.eval), data_digest(data.inputs),
                  data_digest(data.labels));
  text += fmt::format(
      "{} {} {} {}\n{}\n{}\n{} {} {} {}\n{} {} {} {}\n{} {} {}\n", data.batch,
      fmt::join(data.states, ","), fmt::join(data.fills, ","), data.mask_tokens, data.metric,
      data.metric_command, prune.no_verify, prune.no_refit, prune.sequential, prune.effort,
      first.destination.write.profile, first.destination.write.index, prune.write.keep_io_names,
      fmt::join(prune.write.shapes, ","), first.destination.output.extension().string(),
      prune.common.seed, prune.common.threads);
  text += fmt::format("{} {} {}\n", prune.common.simd, args.warmup, args.seconds);
  Digests digests{text, ""};
  for (const SweepTask& task : tasks) text += digests.key(task);
  digests.sweep = sha256(as_bytes(text));
  return digests;
}

// What all points share: read, calibrated and measured once.
class Workshop {
 public:
  explicit Workshop(const SweepTask& first)
      : settings_(first.settings),
        pool_(settings_.common.threads),
        model_(read_uncovered(settings_.input, settings_.common.threads)) {
    EvaluationSource source = settings_.evaluation;
    data_.layers = select_layers(model_, settings_.request.options.select);
    calib_ = calibration_feeds(settings_, model_, data_.layers, source);
    evaluation_ = read_evaluation(model_, source, settings_.data, settings_.common);
    dense_ = try_metric(settings_, model_, evaluation_);
    if (!dense_ && evaluation_.labels && evaluation_.not_run.empty()) {
      const double value = labelled_metric_of(model_, model_, evaluation_, executor());
      dense_ = MetricPair{evaluation_.labels->name, value, value};
    }
    statistics_ = statistics_of(settings_, model_, data_.layers, calib_);
    data_.store = statistics_.store ? &*statistics_.store : nullptr;
    data_.statistics = statistics_.all ? &*statistics_.all : nullptr;
    data_.calib = &calib_.feeds;
    data_.orders = orders_of(calib_, statistics_);
    data_.collect = settings_.calib.collect;
    data_.pass_seconds = statistics_.seconds;
  }
  Workshop(const Workshop&) = delete;
  Workshop& operator=(const Workshop&) = delete;

  const Model& model() const { return model_; }
  const std::optional<MetricPair>& dense() const { return dense_; }

  void check(const SweepTask& task) const {
    check_selection(model_, task.settings.request.options, task.settings.line, settings_.input,
                    false);
  }

  /// The time of one run, on the first feed.
  std::optional<double> milliseconds(const Model& model, const SweepArgs& args) const {
    if (!evaluation_.not_run.empty() || settings_.verify == false) return std::nullopt;
    ModelRunner runner(model, model_, evaluation_.data, executor());
    runner.bind(evaluation_.feeds.front());
    const std::array<std::function<void()>, 1> body{[&] { runner.executor().run_bound(); }};
    return time_interleaved(body, {.warmup = args.warmup, .seconds = args.seconds})[0].median_ms;
  }

  /// Prunes, packs, writes and verifies one point; scores serve for its group, weights for points
  /// that differ in values alone.
  SweepPoint make(const SweepTask& task, const SweepArgs& args);

 private:
  ExecutorOptions executor() const { return {.threads = settings_.common.threads}; }
  const PrunedWeights& weights_of(const SweepTask& task);

  const PruneSettings& settings_;
  ThreadPool pool_;
  Model model_;
  Calibration calib_;
  Evaluation evaluation_;
  std::optional<MetricPair> dense_;
  CalibrationStatistics statistics_;
  PruneData data_;
  std::optional<std::pair<size_t, Pruner>> pruner_;          // of a group
  std::optional<std::pair<size_t, PrunedWeights>> weights_;  // of a sparsity of it
};

// Whether scores of these layers do not depend on the sparsity that they were made for. Other methods
// (sparsegpt) choose blocks of one sparsity: prune makes their scores anew, and so must a point.
bool serve_every_sparsity(const PrunePlan& plan) {
  return std::ranges::all_of(plan.layers, [](const LayerPlan& layer) {
    return !layer.layer.left_out.empty() || !find_criterion(layer.method)->one_sparsity;
  });
}

const PrunedWeights& Workshop::weights_of(const SweepTask& task) {
  const PruneOptions& options = task.settings.request.options;
  if (weights_ && weights_->first == task.weights) return weights_->second;
  weights_.reset();
  if (options.schedule) {
    weights_.emplace(task.weights,
                     prune_in_rounds(model_, options, options.sparsity, data_, pool_));
    return weights_->second;
  }
  if (!pruner_ || pruner_->first != task.group) {
    pruner_.reset();
    pruner_.emplace(std::piecewise_construct, std::forward_as_tuple(task.group),
                    std::forward_as_tuple(model_, options, data_, pool_));
  }
  weights_.emplace(task.weights, pruner_->second.at(options.sparsity));
  if (!serve_every_sparsity(weights_->second.plan)) pruner_.reset();
  return weights_->second;
}

// Share of zeros over all layers that were pruned.
double total_zeros(const PackedModels& models, const PrunePlan& plan, const std::string& profile) {
  double zeros = 0, counted = 0;
  for (const LayerPlan& layer : plan.layers) {
    const LayerResult row = pruned_row(models, layer, profile);
    if (!row.left_out.empty()) continue;
    const auto weights = static_cast<double>(row.weights - row.diagonal);
    zeros += row.zeros * weights;
    counted += weights;
  }
  return counted == 0 ? 0 : zeros / counted;
}

std::optional<double> first_output_error(const Findings& findings, const Model& model) {
  if (!findings.run.cost) return std::nullopt;
  const std::string first = output_names(model).at(0);
  const auto& outputs = findings.run.cost->outputs;
  const auto found = std::ranges::find(outputs, first, &OutputDifference::name);
  return found == outputs.end() ? std::nullopt : std::optional(found->relative_error);
}

// As prune does it, from the weights that the group shares: pack, write, verify, time.
SweepPoint Workshop::make(const SweepTask& task, const SweepArgs& args) {
  const PruneSettings& settings = task.settings;
  PrunePlan plan = weights_of(task).plan;
  plan.options = settings.request.options;  // with the point's own values
  const PrunedWeights& weights = weights_->second;
  PackedModels models;
  models.before = model_;
  models.masked = weights.masked;
  models.biases = weights.biases;
  models.packed = pack_weights(models.masked, plan, pool_);
  for (const LayerPlan& layer : plan.layers) models.layers.push_back(layer.layer);
  const std::optional<double> command =
      dense_ && !evaluation_.labels ? std::optional(dense_->a) : std::nullopt;
  const Findings findings =
      findings_of(models, evaluation_, settings.destination, settings.input,
                  {settings.verify, settings.data.metric_command, command}, executor(), false);
  if (gap_of(findings) != Gap::kNone)
    throw Error(Fault::kUnsupported,
                task.name + ": packed and decoded weights disagree (prune says where)");
  SweepPoint point;
  point.method = plan.options.method;
  point.block = to_string(plan.options.block);
  point.values = plan.options.values;
  point.effort = task.effort;
  point.sparsity = plan.options.sparsity;
  point.file = settings.destination.output.filename().string();
  point.bytes = *findings.output_bytes;
  point.zeros = total_zeros(models, plan, settings.destination.write.profile);
  point.output_error = first_output_error(findings, model_);
  if (findings.command_metric) point.metric = findings.command_metric->b;
  if (findings.metric) point.metric = findings.metric->b;
  point.median_ms = milliseconds(models.packed, args);
  return point;
}

SweepReference dense_reference(const Workshop& shop, const SweepArgs& args) {
  SweepReference reference;
  reference.model = printable(args.prune.input, 4096);
  reference.metric = shop.dense() ? shop.dense()->name : "";
  reference.reference = {reference.model, shop.model().origin.bytes,
                         shop.milliseconds(shop.model(), args), std::nullopt};
  if (shop.dense()) reference.reference.metric = shop.dense()->a;
  return reference;
}

// Measures what is not there yet; records appear one by one.
class Sweep {
 public:
  Sweep(const SweepArgs& args, const SweepStore& store)
      : args_(args), store_(store), tasks_(sweep_tasks(args)), int8_(int8_task(args)) {
    check_files();
    digests_ = digests_of(args, tasks_);
  }

  std::vector<SweepRecord> run() {
    const auto [first, last] = shard_of(args_.shard, tasks_.size());
    store_.create();
    for (size_t i = first; i < last; ++i) {
      if (!store_.find(tasks_[i].name, digests_.key(tasks_[i]))) todo_.push_back(i);
    }
    dense_ = store_.find_reference("dense", digests_.key(tasks_.front()));
    const bool int8_there = !int8_ || store_.find_reference("int8", digests_.key(*int8_));
    if (!todo_.empty() || !dense_ || !int8_there) work(!int8_there);
    std::vector<SweepRecord> records;
    for (const SweepTask& task : tasks_) {
      if (auto record = store_.find(task.name, digests_.key(task))) records.push_back(*record);
    }
    return records;
  }

  const SweepReference& dense() const { return *dense_; }
  std::optional<SweepReference> int8() const {
    return int8_ ? store_.find_reference("int8", digests_.key(*int8_)) : std::nullopt;
  }

 private:
  // Nothing that is read is replaced by a point, or by another point.
  void check_files() const {
    CommandFiles files;
    const PruneArgs& a = args_.prune;
    files.reads_model("MODEL", a.input);
    files.reads_data("--calib", a.calib);
    files.reads_data("--eval", a.eval);
    files.reads(a.data);
    for (const SweepTask& task : tasks_) files.creates("-o", task.settings.destination.output);
  }

  // Makes the references and points that are not there; a record is written after its files.
  void work(bool int8) {
    std::optional<Workshop> shop(std::in_place, tasks_.front());
    std::string effort = tasks_.front().effort;
    for (const SweepTask& task : tasks_) shop->check(task);
    Progress progress("sweep", todo_.size() + (int8 ? 1 : 0));
    if (!dense_) {
      dense_ = dense_reference(*shop, args_);
      dense_->key = digests_.key(tasks_.front());
      dense_->sweep = digests_.sweep;
      store_.write("dense", *dense_);
    }
    if (int8) {
      const SweepPoint point = shop->make(*int8_, args_);
      store_.write("int8", {digests_.key(*int8_),
                            digests_.sweep,
                            dense_->model,
                            dense_->metric,
                            {point.file, point.bytes, point.median_ms, point.metric}});
      progress.step();
    }
    for (const size_t i : todo_) {
      const SweepTask& task = tasks_[i];
      if (task.effort != effort) {  // it has inputs kept apart of its own
        shop.emplace(task);
        effort = task.effort;
      }
      SweepRecord record{task.name,
                         digests_.key(task),
                         task.settings.recipe_text(task.settings.request.options),
                         digests_.sweep,
                         i,
                         tasks_.size(),
                         dense_->reference.median_ms,
                         shop->make(task, args_)};
      record.point.sha256 = model_digest(task.settings.destination.output);
      store_.write(record);
      note(fmt::format("{}: {}", task.name, format_bytes(record.point.bytes)));
      progress.step();
    }
  }

  const SweepArgs& args_;
  const SweepStore& store_;
  std::vector<SweepTask> tasks_;
  std::optional<SweepTask> int8_;
  Digests digests_;
  std::vector<size_t> todo_;
  std::optional<SweepReference> dense_;
};

void check(const SweepArgs& args) {
  check_pick(args.pick, args.pick_by);
  shard_of(args.shard, 1);
  if (args.prune.output.empty())
    throw Error(Fault::kUsage, "-o DIR is missing: the folder to write");
  if (args.prune.input.empty() == args.merge.empty())
    throw Error(Fault::kUsage, "MODEL to sweep, or --merge DIR ..., is required, not both");
  if (args.sparsities.empty()) throw Error(Fault::kUsage, "--sparsity LIST: expected at least one");
  for (const double value : {args.warmup, args.seconds}) {
    if (!(value >= 0 && value <= 86400))
      throw Error(Fault::kUsage, "--warmup and --seconds: expected 0 to 86400");
  }
}

// The files of the sweep beside its points.
void write_results(const SweepStore& store, const Results& results) {
  const Report report = make_report(results);
  for (const auto& [renderer, name] :
       {std::pair("json", "results.json"), std::pair("csv", "results.csv"),
        std::pair("html", "index.html")}) {
    write_file(store.folder() / name, as_bytes(find_renderer(renderer)->render(report, {})));
  }
}

// Makes or merges the points, picks one where that is asked, writes what DIR holds of all of them.
int run(SweepArgs args) {
  apply_common(args.prune.common);
  check(args);
  if (args.efforts.size() == 1) {
    args.prune.effort = args.efforts.front();
    args.efforts.clear();
  }
  take_run_keys(args.prune);
  const CommonOptions common = args.prune.common;
  args.prune.common.json = args.prune.common.html = args.prune.common.markdown =
      args.prune.common.csv = "";
  const SweepStore store(args.prune.output);
  Results results;
  results.command = "sweep";
  std::vector<SweepRecord> records;
  CommandFiles files;
  if (args.merge.empty()) {
    files.reads_model("MODEL", args.prune.input);
    files.reads_data("--calib", args.prune.calib);
    files.reads_data("--eval", args.prune.eval);
    files.reads(args.prune.data);
    files.writes(common);
    CommonOptions with_digests = common;
    with_digests.json = "results.json";
    results.run = run_info(files, with_digests);
    args.prune.statistics = statistics_named_by(args.prune.calib);
    Sweep sweep(args, store);
    records = sweep.run();
    results.sweep = sweep_results(records, sweep.dense(), sweep.int8());
  } else {
    files.writes(common);
    results.run = run_info(files, common);
    records = merge_sweeps(args.merge, store);
    results.sweep = sweep_results(records, *store.reference("dense"), store.reference("int8"));
  }
  if (!args.pick.empty()) {
    const size_t picked = pick_point(*results.sweep, args.pick, args.pick_by);
    results.sweep->picked = picked;
    write_picked(store, records[picked]);
    results.notes.push_back(
        fmt::format("--pick '{}' by {}: {}, written as picked{} with picked.recipe.json", args.pick,
                    args.pick_by, records[picked].name,
                    records[picked].point.file.substr(records[picked].name.size())));
  }
  write_results(store, results);
  emit(results, common);
  return kDone;
}

// Options of prune that make no sense for a grid, or are lists here.
void remove_options(CLI::App& app) {
  for (const char* name :
       {"--sparsity",  "--target-size", "--target-latency", "--machine", "--max-drop",
        "--confident", "--assert-drop", "--at-step",        "--block",   "--nm",
        "--method",    "--values",      "--effort",         "--mask-in", "--mask-out",
        "--rewind",    "--save-recipe", "--in-place",       "--dry-run", "--curve"}) {
    app.remove_option(app.get_option(name));
  }
}

// Declares the arguments.
std::function<int()> add(CLI::App& app) {
  auto args = std::make_shared<SweepArgs>();
  args->sparsities = {0.5, 0.7, 0.8, 0.9, 0.95};
  app.add_option("MODEL", args->prune.input, "model to prune");
  app.add_option("-o,--output", args->prune.output, "folder to write")->type_name("DIR");
  add_prune_options(app, args->prune);
  remove_options(app);
  const auto list = [&](const char* name, auto& target, const char* what) {
    return app.add_option(name, target, what)
        ->type_name("LIST")
        ->delimiter(',')
        ->allow_extra_args(false)
        ->group("Grid");
  };
  list("--method", args->methods, "methods (obs with --calib, else l2)");
  list("--block", args->blocks, "block shapes, outputs x inputs (16x1)");
  list("--sparsity", args->sparsities, "shares of weights to prune (0.5,0.7,0.8,0.9,0.95)");
  list("--values", args->values, "types of the stored kept values: f32, f16, bf16, i8 (unchanged)");
  list("--effort", args->efforts, "efforts: fast, default, best (default)")
      ->check(CLI::IsMember({"fast", "default", "best"}));
  app.add_option("--ending", args->ending,
                 "extension of the files, which selects their format (that of MODEL)")
      ->type_name("E")
      ->check(CLI::IsMember({".onnx", ".nnef.tgz", ".tgz", ".nnef.tar", ".tar"}))
      ->group("Grid");
  app.add_option("--warmup", args->warmup, "seconds of warm-up per point (0.2)")
      ->type_name("S")
      ->group("Grid");
  app.add_option("--seconds", args->seconds, "seconds of measurement per point (1)")
      ->type_name("S")
      ->group("Grid");
  app.add_option("--shard", args->shard, "make only part I of N of the points")
      ->type_name("I/N")
      ->group("Grid");
  app.add_option("--merge", args->merge, "join the folders of shards instead of making points")
      ->type_name("DIR ...")
      ->group("Grid");
  app.add_option("--pick", args->pick,
                 "copy the smallest point that loses at most D of the metric, or P percent of it, "
                 "to DIR/picked")
      ->type_name("'max-drop D or P%'")
      ->group("Grid");
  app.add_option("--by", args->pick_by, "pick by size or by speed (size)")
      ->type_name("WHAT")
      ->group("Grid");
  add_common(app, args->prune.common);
  add_footer(app,
             "  espalier sweep model.onnx -o grid --block 16x1,8x4 --sparsity 0.7,0.9 --inputs "
             "test_data_set_0\n"
             "  espalier sweep --merge grid -o all");
  return [args] { return run(*args); };
}

}  // namespace

constinit const Command sweep_command{
    "sweep", "prune over a grid of settings, measure each point and compare them", add};

}  // namespace espalier
