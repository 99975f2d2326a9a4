#include "apps/espalier/prune_settings.h"

#include <fmt/format.h>

#include <algorithm>

#include "apps/espalier/command_files.h"
#include "apps/espalier/run_recipe.h"
#include "lib/base/mapped_file.h"
#include "lib/calibrate/statistics_file.h"
#include "lib/prune/options/layer_rule.h"
#include "lib/prune/options/recipe_json.h"
#include "lib/prune/score/criterion.h"
#include "lib/search/machine_file.h"

namespace espalier {
namespace {

CalibrationSource calibration_source(const PruneArgs& args) {
  CalibrationSource source;
  source.path = args.calib;
  source.collect = {.threads = args.common.threads, .memory_bytes = args.calib_memory};
  if (args.calib.empty()) return source;
  source.file = args.statistics ? args.statistics : statistics_named_by(args.calib);
  source.kind =
      source.file ? CalibrationSource::Kind::kStatistics : CalibrationSource::Kind::kInputs;
  return source;
}

void read_select(const PruneArgs& args, SelectOptions& select) {
  if (!args.operators.empty()) select.operators = args.operators;
  if (args.min_weights) select.min_weights = *args.min_weights;
  select.depthwise |= args.depthwise;
  select.keep_first_last |= args.keep_first_last;
  select.exclude.insert(select.exclude.end(), args.exclude.begin(), args.exclude.end());
  select.force.insert(select.force.end(), args.force.begin(), args.force.end());
}

std::string text_of(const std::string& file) {
  return std::string(as_text(MappedFile::open(file)->bytes()));
}

PruneOptions recipe_of(const std::string& file) {
  PruneOptions defaults;
  // These follow from the data, where neither recipe nor line names them.
  defaults.method.clear();
  defaults.scope.clear();
  if (file.empty()) return defaults;
  try {
    return read_recipe(text_of(file), defaults, run_keys());
  } catch (Error& error) {
    error.add_context(printable(file));
    throw;
  }
}

// Losses of layers do not say what the model loses; a scan does, where there are inputs to run.
// Without, losses that obs finds are shares of each layer's output, so one threshold serves all
// layers; magnitudes of different layers do not compare like that.
std::string default_scope(const PruneOptions& options, const CalibrationSource& calib) {
  const bool mixed = std::ranges::any_of(
      options.rules, [](const LayerRule& rule) { return rule.options.method.has_value(); });
  if (options.method != "obs" || mixed) return "layer";
  return calib.kind == CalibrationSource::Kind::kStatistics && !calib.has_inputs() ? "global"
                                                                                   : "sensitivity";
}

void set_target(const PruneArgs& args, PruneOptions& options) {
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
PruneOptions options_of(const PruneArgs& args, const CalibrationSource& calib) {
  PruneOptions options = recipe_of(args.recipe);
  read_select(args, options.select);
  set_target(args, options);
  if (args.sparsity) {
    options.sparsity = *args.sparsity;
    options.nm.reset();  // of the recipe
  }
  if (!args.schedule.empty()) options.schedule = parse_schedule(args.schedule);
  if (args.at_step) {
    if (!options.schedule) throw Error(Fault::kUsage, "--at-step requires --schedule");
    if (*args.at_step > options.schedule->steps) {
      throw Error(Fault::kUsage, fmt::format("--at-step {}: the schedule has steps 0 to {}",
                                             *args.at_step, options.schedule->steps));
    }
    options.sparsity = scheduled_sparsity(*options.schedule, options.sparsity, *args.at_step);
    options.schedule.reset();
  }
  if (!args.block.empty()) {
    if (args.block != "auto") options.block = parse_block_shape(args.block);
    options.nm.reset();
  }
  if (!args.nm.empty()) options.nm = parse_nm(args.nm);
  if (!args.method.empty()) options.method = args.method;
  if (options.method.empty()) {
    options.method_by_cost = calib.kind != CalibrationSource::Kind::kNone;
    options.method = options.method_by_cost ? "obs" : "l2";
  }
  if (args.no_refit) options.refit = false;
  if (args.sequential) options.sequential = true;
  if (!args.scope.empty()) options.scope = args.scope;
  if (!args.diagonal.empty()) options.keep_diagonal = args.diagonal == "keep";
  if (!args.values.empty()) options.values = args.values;
  if (!args.write.profile.empty() || args.reader_given.value_or(false))
    options.profile = args.write.profile;
  if (args.confident) options.confident = true;
  if (!args.write.index.empty()) options.index = args.write.index;
  if (args.common.seed != 0) options.seed = args.common.seed;
  for (const std::string& text : args.layers) options.rules.push_back(parse_layer_rule(text));
  if (options.scope.empty()) options.scope = default_scope(options, calib);
  if (!args.rewind.empty()) options.refit = false;  // statistics tell nothing of another checkpoint
  return options;
}

// Which of --eval, --inputs and --calib the runs take.
std::string run_data(const PruneArgs& args, CalibrationSource::Kind calib) {
  if (!args.eval.empty()) return args.eval;
  if (!args.data.inputs.empty()) return args.data.inputs;
  return calib == CalibrationSource::Kind::kStatistics ? "" : args.calib;
}

// Nothing that is read is replaced: told before any work.
CommandFiles checked_files(const PruneArgs& args) {
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
  return files;
}

void check(const PruneArgs& args) {
  if (args.output.empty() && !args.dry_run)
    throw Error(Fault::kUsage, "OUT is missing: the file to write, or --dry-run");
  if (!args.block.empty() && !args.nm.empty())
    throw Error(Fault::kUsage, "--block and --nm exclude each other");
  if (args.sparsity && !args.nm.empty())
    throw Error(Fault::kUsage, "--sparsity and --nm exclude each other: N:M is a sparsity");
  if (!args.data.labels.empty() && args.eval.empty())
    throw Error(Fault::kUsage, "--labels requires --eval DATA, the samples that they label");
  check_available(args.method, args.scope, args.values, true);
  check_data_options(args.data);
}

void refuse(std::string text) { throw Error(Fault::kUsage, std::move(text)); }

// What only runs over calibration inputs can tell.
void check_inputs_given(const PruneOptions& options, const PruneArgs& args,
                        const CalibrationSource& calib) {
  const bool inputs = calib.has_inputs();
  std::vector<std::string> wanting;
  if (options.sequential) wanting.emplace_back("--sequential");
  if (options.schedule && !args.calib.empty()) wanting.emplace_back("--schedule");
  if (options.scope == "sensitivity" && args.mask_in.empty())
    wanting.emplace_back("--scope sensitivity");
  for (const std::string& option : wanting) {
    if (!inputs) {
      refuse(fmt::format("{} runs the model on calibration inputs: --calib DATA is required{}",
                         option,
                         args.calib.empty() ? "" : ", not a file of statistics without inputs"));
    }
  }
  if (options.sequential && !options.refit)
    refuse("--sequential refits layer by layer and excludes --no-refit and --rewind");
}

// A search or a curve: what it is to measure must be there.
void check_search(const PruneOptions& options, const PruneArgs& args) {
  const bool size = options.target && options.target->kind == PruneTarget::Kind::kSize;
  const bool drop = options.target && options.target->kind == PruneTarget::Kind::kDrop;
  if (!args.machine.empty()) {
    if (!options.target || options.target->kind != PruneTarget::Kind::kLatency)
      refuse("--machine requires --target-latency: without it times are measured on this machine");
  }
  if (options.values == "auto" && !drop)
    refuse("--values auto chooses types by what the metric may lose: --max-drop D is required");
  if (options.confident && (!drop || args.data.labels.empty())) {
    refuse(
        "--confident judges by the interval of a drop: --max-drop D and --eval with --labels are "
        "required");
  }
  if (!options.target && args.curve.empty()) return;
  if (!args.mask_in.empty() || !args.rewind.empty())
    refuse("a target or a curve chooses the blocks and excludes --mask-in and --rewind");
  if ((size || !args.curve.empty() || !args.data.metric_command.empty()) && args.output.empty())
    refuse("OUT is missing: a target or a curve measures files of that name and format");
  if ((drop || !args.curve.empty()) && args.data.labels.empty() && args.data.metric_command.empty())
    refuse(fmt::format("{} requires a metric: --eval with --labels, or --metric-cmd",
                       drop ? "--max-drop" : "--curve"));
  if (options.values == "auto" && options.schedule)
    refuse("--values auto tries types at many sparsities and excludes --schedule");
  if (options.nm) refuse("--nm sets the sparsity and excludes a target or a curve");
}

DropLimit drop_limit(const PruneTarget& target, std::string text) {
  return {target.value, target.share, std::move(text)};
}

// --assert-drop, and what it is measured by.
std::optional<DropLimit> assert_drop_of(const PruneArgs& args) {
  if (args.assert_drop.empty()) return std::nullopt;
  const bool labelled = !args.data.labels.empty(), command = !args.data.metric_command.empty();
  if (!labelled && !command)
    refuse("--assert-drop requires a metric: --eval with --labels, or --metric-cmd");
  if (labelled && args.no_verify)
    refuse("--assert-drop measures the metric and excludes --no-verify");
  if (!labelled && args.dry_run)
    refuse("--assert-drop measures OUT by --metric-cmd and excludes --dry-run");
  return drop_limit(parse_max_drop(args.assert_drop, "assert-drop"), args.assert_drop);
}

// Whether layers are pruned both at once and in order: where inputs are there to judge by and one
// sparsity is asked for. A search tries many, and each would cost as much as all scores.
bool tries_orders(const PruneOptions& options, const PruneArgs& args,
                  const CalibrationSource& calib) {
  const bool search = options.target || options.schedule || !args.curve.empty();
  return args.effort != "fast" && calib.has_all_inputs() && options.refit && !options.sequential &&
         !search && args.mask_in.empty() && args.rewind.empty();
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

}  // namespace

std::shared_ptr<const StatisticsFile> statistics_named_by(const std::string& calib) {
  if (calib.empty() || !is_statistics_file(calib)) return nullptr;
  return std::make_shared<const StatisticsFile>(read_statistics_file(calib));
}

void take_run_keys(PruneArgs& args) {
  if (!args.reader_given) args.reader_given = !args.write.reader.empty();
  if (args.recipe.empty()) return;
  try {
    read_run_keys(text_of(args.recipe), args);
  } catch (Error& error) {
    error.add_context(printable(args.recipe));
    throw;
  }
  // The line's profile overrides the recipe's reader.
  if (!args.write.profile.empty() && !*args.reader_given) args.write.reader.clear();
}

// Merges defaults, recipe and line, in this order, and checks the result.
PruneSettings prune_settings(const PruneArgs& given) {
  PruneArgs args = given;
  take_run_keys(args);
  if (args.in_place && args.output.empty()) args.output = args.input;
  check(args);
  PruneSettings settings;
  settings.calib = calibration_source(args);
  settings.request.options = options_of(args, settings.calib);
  settings.request.curve = args.curve;
  settings.request.given_masks = !args.mask_in.empty();
  const PruneOptions& options = settings.request.options;
  settings.tries_orders = tries_orders(options, args, settings.calib);
  settings.at_any_cost = args.effort == "best";
  check_options(options);
  check_method(options, args.calib);
  check_inputs_given(options, args, settings.calib);
  if (!args.cache.empty() && args.calib.empty())
    refuse("--cache DIR keeps what calibration makes: --calib DATA is required");
  check_search(options, args);
  if (args.block == "auto" && (settings.request.given_masks || args.no_verify))
    refuse("--block auto measures runs to choose a block and excludes --mask-in and --no-verify");
  WriteArgs write = args.write;
  write.profile = options.profile;  // the recipe's, where the line has none
  write.index = options.index;
  settings.destination = destination_of(args.output, args.dry_run, write, options.values);
  settings.evaluation.path = run_data(args, settings.calib.kind);
  settings.evaluation.shapes = settings.destination.write.shapes;
  settings.evaluation.optional = true;
  settings.evaluation.memory = args.write.memory;
  settings.evaluation.run = !args.no_verify || needs_meter(settings.request);
  settings.assert_drop = assert_drop_of(args);
  settings.line = {args.operators, args.exclude,  args.force,
                   args.layers,    args.max_drop, args.recipe};
  settings.input = args.input;
  settings.rewind = args.rewind;
  settings.data = args.data;
  settings.verify = !args.no_verify;
  settings.mask_in = args.mask_in;
  settings.block_auto = args.block == "auto";
  settings.mask_out = args.mask_out;
  settings.save_recipe = args.save_recipe;
  settings.cache = args.cache;
  settings.recipe_text = [args](const PruneOptions& used) {
    return with_run_keys(recipe_json(used), args);
  };
  settings.by_magnitude_unasked =
      args.calib.empty() && args.mask_in.empty() && args.rewind.empty() && args.method.empty();
  settings.common = args.common;
  settings.machine_file = args.machine;
  settings.run = run_info(checked_files(args), args.common);
  // What is wrong with it is told before the model is read.
  if (!args.machine.empty()) settings.machine = read_machine(args.machine);
  return settings;
}

std::optional<DropLimit> max_drop_of(const PruneSettings& settings) {
  const std::optional<PruneTarget>& target = settings.request.options.target;
  if (!target || target->kind != PruneTarget::Kind::kDrop) return std::nullopt;
  return drop_limit(*target, to_string(*target));
}

}  // namespace espalier
