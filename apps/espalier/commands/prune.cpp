#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <memory>

#include "apps/espalier/calibration.h"
#include "apps/espalier/candidates.h"
#include "apps/espalier/command.h"
#include "apps/espalier/command_files.h"
#include "apps/espalier/options.h"
#include "apps/espalier/pack_job.h"
#include "apps/espalier/prune_work.h"
#include "apps/espalier/weights.h"
#include "formats/npy/npy.h"
#include "lib/base/log.h"
#include "lib/base/mapped_file.h"
#include "lib/base/output_file.h"
#include "lib/calibrate/statistics_file.h"
#include "lib/prune/options/layer_rule.h"
#include "lib/prune/options/plan_json.h"

namespace espalier {
namespace {

struct Args {
  CommonOptions common;
  DataOptions data;
  std::string input, output, calib, eval;
  std::optional<double> sparsity, target_size, target_latency;
  std::string max_drop, schedule;
  std::optional<uint64_t> at_step;
  std::vector<double> curve;
  std::string block, nm, method, scope, diagonal, values, profile, index;
  std::vector<std::string> operators, exclude, force, layers, shapes;
  std::optional<size_t> min_weights;
  size_t calib_memory = CollectOptions().memory_bytes;
  bool no_refit = false, sequential = false, depthwise = false, keep_first_last = false,
       dry_run = false, no_verify = false, keep_io_names = false, in_place = false;
  std::string mask_in, mask_out, rewind, recipe, save_recipe, machine;
};

void read_select(const Args& args, SelectOptions& select) {
  if (!args.operators.empty()) select.operators = args.operators;
  if (args.min_weights) select.min_weights = *args.min_weights;
  select.depthwise |= args.depthwise;
  select.keep_first_last |= args.keep_first_last;
  select.exclude.insert(select.exclude.end(), args.exclude.begin(), args.exclude.end());
  select.force.insert(select.force.end(), args.force.begin(), args.force.end());
}

PruneOptions recipe_of(const Args& args) {
  PruneOptions defaults;
  // These follow from the data, where neither recipe nor line names them.
  defaults.method.clear();
  defaults.scope.clear();
  if (args.recipe.empty()) return defaults;
  try {
    return read_recipe(as_text(MappedFile::open(args.recipe)->bytes()), defaults);
  } catch (Error& error) {
    error.add_context(printable(args.recipe));
    throw;
  }
}

// Losses of layers do not say what the model loses; a scan does, where there are inputs to run.
// Without, losses that obs finds are shares of each layer's output, so one threshold serves all
// layers; magnitudes of different layers do not compare like that.
std::string default_scope(const PruneOptions& options, const Args& args) {
  const bool mixed = std::ranges::any_of(
      options.rules, [](const LayerRule& rule) { return rule.options.method.has_value(); });
  if (options.method != "obs" || mixed) return "layer";
  return is_statistics_file(args.calib) ? "global" : "sensitivity";
}

void set_target(const Args& args, PruneOptions& options) {
  const int targets = (args.target_size ? 1 : 0) + (args.target_latency ? 1 : 0) +
                      (args.max_drop.empty() ? 0 : 1) + (args.sparsity ? 1 : 0);
  if (targets > 1) {
    throw Error(Fault::kUsage,
                "--sparsity, --target-size, --target-latency and --max-drop exclude each other");
  }
  if (targets != 0) options.target.reset();
  if (args.target_size) options.target = PruneTarget{PruneTarget::Kind::kSize, *args.target_size};
  if (args.target_latency)
    options.target = PruneTarget{PruneTarget::Kind::kLatency, *args.target_latency};
  if (!args.max_drop.empty()) options.target = parse_max_drop(args.max_drop);
}

// Defaults, the recipe over them, the command line over both.
PruneOptions options_of(const Args& args) {
  PruneOptions options = recipe_of(args);
  read_select(args, options.select);
  set_target(args, options);
  if (args.sparsity) options.sparsity = *args.sparsity;
  if (!args.schedule.empty()) options.schedule = parse_schedule(args.schedule);
  if (args.at_step) {
    if (!options.schedule) throw Error(Fault::kUsage, "--at-step requires --schedule");
    options.sparsity = scheduled_sparsity(*options.schedule, options.sparsity, *args.at_step);
    options.schedule.reset();
  }
  if (!args.block.empty()) {
    options.block = parse_block_shape(args.block);
    options.nm.reset();
  }
  if (!args.nm.empty()) options.nm = parse_nm(args.nm);
  if (!args.method.empty()) options.method = args.method;
  if (options.method.empty()) options.method = args.calib.empty() ? "l2" : "obs";
  if (args.no_refit) options.refit = false;
  if (args.sequential) options.sequential = true;
  if (!args.scope.empty()) options.scope = args.scope;
  if (!args.diagonal.empty()) options.keep_diagonal = args.diagonal == "keep";
  if (!args.values.empty()) options.values = args.values;
  if (!args.profile.empty()) options.profile = args.profile;
  if (!args.index.empty()) options.index = args.index;
  if (args.common.seed != 0) options.seed = args.common.seed;
  for (const std::string& text : args.layers) options.rules.push_back(parse_layer_rule(text));
  if (options.scope.empty()) options.scope = default_scope(options, args);
  return options;
}

// Of inputs that serve for the checks as well, each tenth feed is left to these.
CalibrationFeeds calibration_feeds(const Args& args, PackJob& job) {
  if (args.calib.empty() || is_statistics_file(args.calib)) return {};
  CalibrationFeeds result{data_set(args.calib, job.before, args.data), {}};
  std::vector<Feed>& feeds = result.feeds;
  feeds = make_feeds(job.before, result.data);
  job.held_out = job.data_path == args.calib && result.data.states.empty() && feeds.size() >= 10;
  if (job.held_out) {
    size_t index = 0;
    std::erase_if(feeds, [&](const Feed&) { return is_held_out(index++); });
  }
  return result;
}

std::optional<Statistics> statistics_of(const Args& args, const PruneOptions& options,
                                        const PackJob& job, const CalibrationFeeds& calib) {
  if (args.calib.empty()) return std::nullopt;
  if (is_statistics_file(args.calib)) return read_statistics(args.calib);
  return calibrate(job.before, select_layers(job.before, options.select), calib.data, calib.feeds,
                   {.threads = args.common.threads, .memory_bytes = args.calib_memory});
}

// Prunes; a target's sparsity, and what was measured on the way to it, go to `options` and `job`.
PrunedWeights pruned(const Args& args, PruneOptions& options, const Statistics* statistics,
                     const CalibrationFeeds& calib, PackJob& job, ThreadPool& pool) {
  const Model& model = job.before;
  const PruneData data{
      statistics, &calib, {.threads = args.common.threads, .memory_bytes = args.calib_memory}};
  if (!args.mask_in.empty()) {
    PrunePlan plan = plan_from_masks(model, options, read_npz_file(args.mask_in));
    return weights_of_plan(model, std::move(plan), nullptr, data, pool);
  }
  std::optional<PruneWork> work;
  if (!options.schedule) work.emplace(model, options, data, pool);
  const WeightsAt weights_at = [&](double sparsity) {
    return work ? work->at(sparsity) : prune_in_rounds(model, options, sparsity, data, pool);
  };
  if (!options.target && args.curve.empty()) return weights_at(options.sparsity);
  const CandidateMeter meter(job, args.common, args.machine);
  if (!args.curve.empty()) job.curve = curve(args.curve, weights_at, model, options, meter, pool);
  if (!options.target) return weights_at(options.sparsity);
  Reached reached = reach(*options.target, weights_at, meter, pool);
  options.sparsity = reached.sparsity;
  job.curve.insert(job.curve.end(), reached.trials.begin(), reached.trials.end());
  job.notes.push_back(reached.note);
  if (!args.machine.empty()) {
    job.notes.push_back(fmt::format("these times are predicted for the machine of {}, not measured",
                                    printable(args.machine)));
  }
  return std::move(reached.weights);
}

std::vector<std::pair<std::string, Cell>> option_cells(const PruneOptions& options, bool refitted,
                                                       const std::string& profile) {
  const std::string block = options.nm ? "1x1" : to_string(options.block);
  return {{"block", block},
          {"nm", options.nm ? Cell(to_string(*options.nm)) : Cell()},
          {"sparsity", options.nm ? 1.0 - static_cast<double>(options.nm->keep) / options.nm->of
                                  : options.sparsity},
          {"method", options.method},
          {"scope", options.scope},
          {"refit", refitted},
          {"sequential", refitted && options.sequential},
          {"values", cell_or_null(options.values)},
          {"profile", cell_or_null(profile)},
          {"seed", count_cell(options.seed)}};
}

LayerResult row_of(const PackJob& job, const LayerPlan& plan) {
  const Weight& after = weight_of(job.packed, plan.layer);
  LayerResult row =
      layer_row(plan.layer, weight_of(job.before, plan.layer), after, job.write.profile);
  row.zeros = zero_share(weight_of(job.masked, plan.layer), plan.layer.fold, plan.diagonal);
  if (!row.left_out.empty()) {
    row.bytes_after = row.bytes_before;
    return row;
  }
  row.block = to_string(plan.block);
  row.pattern = plan.nm ? to_string(*plan.nm) : row.block;
  row.blocks = plan.mask.blocks();
  row.blocks_kept = plan.mask.kept_blocks();
  row.diagonal = plan.diagonal ? plan.layer.fold.parts * plan.layer.fold.rows : 0;
  return row;
}

// Which of --eval, --inputs and --calib the runs take.
std::string run_data(const Args& args) {
  if (!args.eval.empty()) return args.eval;
  if (!args.data.inputs.empty()) return args.data.inputs;
  return is_statistics_file(args.calib) ? "" : args.calib;
}

void take_over(PrunedWeights pruned, PackJob& job) {
  job.masked = std::move(pruned.masked);
  job.biases = std::move(pruned.biases);
  if (pruned.rows_kept == 0) return;
  warn(
      fmt::format("{} rows were not refitted: they contain infinities or NaN, or the moments of "
                  "their inputs could not be factorised",
                  pruned.rows_kept));
}

// Nothing that is read is replaced: told before any work.
void check_files(const Args& args) {
  CommandFiles files;
  files.reads_model("IN", args.input);
  files.reads_model("--rewind", args.rewind);
  files.reads_data("--calib", args.calib);
  files.reads_data("--eval", args.eval);
  files.reads(args.data);
  files.reads("--mask-in", args.mask_in);
  files.reads("--recipe", args.recipe);
  files.reads("--machine", args.machine);
  if (!args.dry_run) files.writes_model(args.output, args.in_place);
  files.writes("--mask-out", args.mask_out);
  files.writes("--save-recipe", args.save_recipe);
  files.writes(args.common);
}

void check(const Args& args) {
  if (args.output.empty() && !args.dry_run)
    throw Error(Fault::kUsage, "OUT is missing: the file to write, or --dry-run");
  if (!args.block.empty() && !args.nm.empty())
    throw Error(Fault::kUsage, "--block and --nm exclude each other");
  if (!args.data.labels.empty() && args.eval.empty())
    throw Error(Fault::kUsage, "--labels requires --eval DATA, the samples that they label");
  check_available(args.method, args.scope, args.values);
}

void refuse(std::string text) { throw Error(Fault::kUsage, std::move(text)); }

// What only runs over calibration inputs can tell.
void check_inputs_given(const PruneOptions& options, const Args& args) {
  const bool inputs = !args.calib.empty() && !is_statistics_file(args.calib);
  std::vector<std::string> wanting;
  if (options.sequential) wanting.emplace_back("--sequential");
  if (options.schedule && !args.calib.empty()) wanting.emplace_back("--schedule");
  if (options.scope == "sensitivity" && args.mask_in.empty())
    wanting.emplace_back("--scope sensitivity");
  for (const std::string& option : wanting) {
    if (!inputs) {
      refuse(fmt::format("{} runs the model on calibration inputs: --calib DATA is required{}",
                         option, args.calib.empty() ? "" : ", not a file of statistics"));
    }
  }
  if (options.sequential && !options.refit)
    refuse("--sequential refits layer by layer and excludes --no-refit and --rewind");
}

// A search or a curve: what it is to measure must be there.
void check_search(const PruneOptions& options, const Args& args) {
  const bool size = options.target && options.target->kind == PruneTarget::Kind::kSize;
  const bool drop = options.target && options.target->kind == PruneTarget::Kind::kDrop;
  if (!args.machine.empty()) {
    if (!options.target || options.target->kind != PruneTarget::Kind::kLatency)
      refuse("--machine requires --target-latency: without it times are measured on this machine");
    read_machine(args.machine);  // what is wrong with it is told before the model is read
  }
  if (!options.target && args.curve.empty()) return;
  if (!args.mask_in.empty() || !args.rewind.empty())
    refuse("a target or a curve chooses the blocks and excludes --mask-in and --rewind");
  if ((size || !args.curve.empty() || !args.data.metric_command.empty()) && args.output.empty())
    refuse("OUT is missing: a target or a curve measures files of that name and format");
  if ((drop || !args.curve.empty()) && args.data.labels.empty() && args.data.metric_command.empty())
    refuse(fmt::format("{} requires a metric: --eval with --labels, or --metric-cmd",
                       drop ? "--max-drop" : "--curve"));
  if (options.nm) refuse("--nm sets the sparsity and excludes a target or a curve");
}

// Errors  Fault::kUsage: a method, of all layers or of some, that needs calibration data.
void check_method(const PruneOptions& options, const std::string& calib) {
  std::vector<std::string> methods{options.method};
  for (const LayerRule& rule : options.rules) methods.push_back(rule.options.method.value_or(""));
  for (const std::string& method : methods) {
    const Criterion* criterion = find_criterion(method);
    if (!calib.empty() || criterion == nullptr || !criterion->needs_moments) continue;
    throw Error(Fault::kUsage, fmt::format("--method {} requires --calib DATA", method));
  }
}

// Checks the options before any work; then selects, scores, chooses and refits, packs, and leaves
// verification, writing and the report to finish().
int run(Args args) {
  apply_common(args.common);
  if (args.in_place && args.output.empty()) args.output = args.input;
  check(args);
  check_files(args);
  PruneOptions options = options_of(args);
  if (!args.rewind.empty()) options.refit = false;  // statistics tell nothing of another checkpoint
  check_options(options);
  check_method(options, args.calib);
  check_inputs_given(options, args);
  check_search(options, args);
  ThreadPool pool(args.common.threads);
  PackJob job;
  job.command = "prune";
  job.input = args.rewind.empty() ? args.input : args.rewind;
  job.output = args.output;
  job.dry_run = args.dry_run;
  job.verify = !args.no_verify;
  job.write.profile = resolved_profile(args.output, options.profile);
  check_values_of(args.output, job.write.profile, options.values);
  if (!options.index.empty()) job.write.index = options.index;
  job.write.keep_io_names = args.keep_io_names;
  job.write.shapes = input_shapes(args.shapes);
  job.data = args.data;
  job.data_path = run_data(args);
  {
    const Stage stage("read");
    job.before = read_uncovered(args.input, args.common.threads);
  }
  const CalibrationFeeds calib = calibration_feeds(args, job);
  const std::optional<Statistics> found = statistics_of(args, options, job, calib);
  const Statistics* statistics = found ? &*found : nullptr;
  PrunedWeights result = pruned(args, options, statistics, calib, job, pool);
  PrunePlan plan = std::move(result.plan);
  if (!args.rewind.empty()) {
    job.before = read_uncovered(args.rewind, args.common.threads);
    plan = retarget(plan, job.before);
    result.masked = apply_plan(job.before, plan, pool);
    result.biases.clear();
    result.rows_kept = 0;
    job.notes.push_back(fmt::format("masks taken from {}", printable(args.input)));
  }
  take_over(std::move(result), job);
  if (found && job.verify && args.rewind.empty() && args.mask_in.empty())
    job.magnitude = pruned_by_magnitude(job.before, options, options.sparsity, pool);
  {
    const Stage stage("pack");
    job.packed = pack_weights(job.masked, plan, pool);
  }
  job.options = option_cells(options, found && options.refit, job.write.profile);
  for (const LayerPlan& layer : plan.layers) {
    job.layers.push_back(layer.layer);
    job.rows.push_back(row_of(job, layer));
  }
  if (!args.mask_out.empty()) write_npz_file(args.mask_out, masks_of(plan));
  if (!args.save_recipe.empty()) write_file(args.save_recipe, as_bytes(recipe_json(options)));
  const int status = finish(std::move(job), args.common);
  if (status == kDone && args.calib.empty() && args.mask_in.empty() && args.method.empty()) {
    warn(
        "no calibration data was given: blocks were chosen by magnitude and the kept weights were "
        "not refitted; --calib DATA keeps more accuracy");
  }
  return status;
}

// Options that decide which weights lose which blocks.
void add_what(CLI::App& app, Args& a) {
  app.add_option("--sparsity", a.sparsity,
                 "share of the weights of the selected layers to prune (0.5)")
      ->type_name("S")
      ->group("What is pruned");
  app.add_option("--target-size", a.target_size,
                 "lowest sparsity whose output file is at most BYTES (replaces --sparsity)")
      ->type_name("BYTES")
      ->check(CLI::NonNegativeNumber)
      ->transform(CLI::AsSizeValue(true))
      ->group("What is pruned");
  app.add_option("--target-latency", a.target_latency,
                 "lowest sparsity whose run takes at most MS milliseconds here, with --threads "
                 "(replaces --sparsity)")
      ->type_name("MS")
      ->check(CLI::NonNegativeNumber)
      ->group("What is pruned");
  app.add_option("--machine", a.machine,
                 "predict --target-latency for the machine on which `bench --kernels --json F` ran")
      ->type_name("F")
      ->group("What is pruned");
  const auto text = [&](const char* name, std::string& target, const char* type, const char* what) {
    return app.add_option(name, target, what)->type_name(type)->group("What is pruned");
  };
  const auto list = [&](const char* name, std::vector<std::string>& target, const char* type,
                        const char* what) {
    return app.add_option(name, target, what)
        ->type_name(type)
        ->allow_extra_args(false)
        ->group("What is pruned");
  };
  text("--max-drop", a.max_drop, "D or P%",
       "highest sparsity that lowers the metric by at most D, or by P percent of its value "
       "(replaces --sparsity)");
  text("--schedule", a.schedule, "cubic:start=S,steps=N",
       "prune in N rounds along a cubic curve, each from the result of the round before");
  app.add_option("--at-step", a.at_step,
                 "prune once, to the sparsity that the schedule has at step T")
      ->type_name("T")
      ->group("What is pruned");
  text("--block", a.block, "RxC", "block shape, outputs x inputs (16x1)");
  text("--nm", a.nm, "N:M", "keep N of every M weights along the inputs (replaces --block)");
  text("--method", a.method, "M", method_help().c_str());
  text("--scope", a.scope, "S",
       "how the sparsity is distributed: layer, global or sensitivity (sensitivity with obs, else "
       "layer)");
  text("--diagonal", a.diagonal, "D",
       "keep or prune the diagonals of square recurrent matrices (keep)")
      ->check(CLI::IsMember({"keep", "prune"}));
  list("--op", a.operators, "LIST", "operators whose weights are pruned (all that can be)")
      ->delimiter(',');
  app.add_option("--min-weights", a.min_weights, "leave smaller weights dense (1024)")
      ->type_name("N")
      ->group("What is pruned");
  app.add_flag("--depthwise", a.depthwise, "prune depthwise convolutions too")
      ->group("What is pruned");
  app.add_flag("--keep-first-last", a.keep_first_last, "leave the first and the last layer dense")
      ->group("What is pruned");
  list("--force", a.force, "REGEX", "prune fixed transforms with these names too; repeatable");
  list("--exclude", a.exclude, "REGEX", "never change these weights; repeatable");
  list("--layer", a.layers, "REGEX:key=value,...",
       "set block, sparsity, method, nm, gate-density or skip for the weights that match; "
       "repeatable");
  text("--mask-in", a.mask_in, "FILE", "apply these masks (.npz) instead of scoring");
  text("--mask-out", a.mask_out, "FILE", "write the masks");
  text("--rewind", a.rewind, "MODEL", "apply the masks of IN to this checkpoint");
  text("--recipe", a.recipe, "FILE",
       "read options from a JSON file; the command line overrides them");
  text("--save-recipe", a.save_recipe, "FILE", "write the options that were used to a recipe");
}

// Options of the written file and of the data.
void add_how(CLI::App& app, Args& a) {
  const auto text = [&](const char* name, std::string& target, const char* type, const char* what,
                        const char* group) {
    return app.add_option(name, target, what)->type_name(type)->group(group);
  };
  text("--values", a.values, "T",
       "type of the stored kept values: f32, f16, bf16 or i8 (the weight's own type)",
       "What is written");
  add_write_options(app, a.profile, a.index, a.keep_io_names, a.shapes);
  add_in_place(app, a.in_place);
  app.add_flag("--no-verify", a.no_verify, "skip running the models and reading OUT back")
      ->group("What is written");
  app.add_flag("--dry-run", a.dry_run, "do everything except writing OUT")
      ->group("What is written");
  text("--eval", a.eval, "DATA", "inputs on which the metric is measured", "Data");
  text("--calib", a.calib, "DATA or STATS",
       "calibration inputs without labels, or a file written by calibrate: used by wanda, "
       "sparsegpt and obs and to refit the kept weights",
       "Data");
  app.add_option("--curve", a.curve,
                 "also measure the metric at these sparsities, and with magnitude pruning")
      ->type_name("S,S,...")
      ->delimiter(',')
      ->check(CLI::Range(0.0, 1.0))
      ->group("Data");
  app.add_option(
         "--calib-memory", a.calib_memory,
         "memory for the sums of calibration; larger sums are collected in several passes (2 GiB)")
      ->type_name("BYTES")
      ->group("Data");
  app.add_flag(
         "--sequential", a.sequential,
         "choose and refit layer by layer, on the inputs that the layers pruned before produce")
      ->group("What is pruned");
  app.add_flag("--no-refit", a.no_refit, "leave the kept weights unchanged even with --calib")
      ->group("What is pruned");
  add_data_options(
      app, a.data,
      "inputs on which the result is verified (those of --eval, --calib, or random ones)");
  add_metric_options(app, a.data, true);
}

std::function<int()> add(CLI::App& app) {
  auto args = std::make_shared<Args>();
  app.add_option("IN", args->input, "model to prune")->required();
  app.add_option("OUT,-o,--output", args->output,
                 "model to write; the extension selects the format");
  add_what(app, *args);
  add_how(app, *args);
  add_common(app, args->common);
  add_footer(
      app,
      "  espalier prune model.onnx pruned.nnef.tgz --block 16x1 --sparsity 0.8\n"
      "  espalier prune model.onnx pruned.onnx --nm 2:4 --exclude '^head' --json report.json");
  return [args] { return run(*args); };
}

}  // namespace

constinit const Command prune_command{
    "prune", "prune the weakest blocks, pack the rest, verify and report", add};

}  // namespace espalier
