#include "apps/espalier/prune_options.h"

#include <CLI/CLI.hpp>

#include "apps/espalier/common_options.h"

namespace espalier {
namespace {

// Options that say what is pruned.
void add_what(CLI::App& app, PruneArgs& a) {
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
  app.add_flag(
         "--confident", a.confident,
         "--max-drop holds for the upper end of the drop's interval, not for the drop measured")
      ->group("What is pruned");
  text("--assert-drop", a.assert_drop, "D or P%",
       "end with status 3 if the metric loses more than D, or than P percent of its value; OUT is "
       "written all the same");
  text("--schedule", a.schedule, "cubic:start=S,steps=N",
       "prune in N rounds along a cubic curve, each from the result of the round before");
  app.add_option("--at-step", a.at_step,
                 "prune once, to the sparsity that the schedule has at step T")
      ->type_name("T")
      ->group("What is pruned");
  text("--block", a.block, "RxC",
       "block shape, outputs x inputs, or auto: the fastest here, as advise measures it (16x1)");
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

// Options that say what is written, and with which data.
void add_how(CLI::App& app, PruneArgs& a) {
  const auto text = [&](const char* name, std::string& target, const char* type, const char* what,
                        const char* group) {
    return app.add_option(name, target, what)->type_name(type)->group(group);
  };
  text(
      "--values", a.values, "T|auto",
      "type of the stored kept values: f32, f16, bf16, i8, or auto with --max-drop: for each layer "
      "f32, f16 or i8, by what the outputs lose, also for layers that are left dense and tables of "
      "Gather (the weight's own type)",
      "What is written");
  add_write_options(app, a.write);
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
         "memory for the sums of calibration; larger sums are collected in several passes (2 GiB for a "
         "layer, 512 MiB for a pass of several)")
      ->type_name("BYTES")
      ->transform(CLI::AsSizeValue(true))
      ->group("Data");
  text("--cache", a.cache, "DIR",
       "folder that keeps statistics, scores and the sensitivity scan: a run of the same model and "
       "calibration inputs takes them from there",
       "Data");
  app.add_flag(
         "--sequential", a.sequential,
         "choose and refit layer by layer, on the inputs that the layers pruned before produce")
      ->group("What is pruned");
  app.add_option("--effort", a.effort,
                 "fast prunes all layers at once; default, where that is cheap, also one after the "
                 "other, and keeps what changes the outputs of inputs held apart less; best at any "
                 "cost (default)")
      ->type_name("E")
      ->check(CLI::IsMember({"fast", "default", "best"}))
      ->group("What is pruned");
  app.add_flag("--no-refit", a.no_refit, "leave the kept weights unchanged even with --calib")
      ->group("What is pruned");
  add_mask_tokens(app, a.data);
  add_data_options(
      app, a.data,
      "inputs on which the result is verified (those of --eval, --calib, or random ones)");
  add_metric_options(app, a.data, true);
}

}  // namespace

void add_prune_options(CLI::App& app, PruneArgs& args) {
  add_what(app, args);
  add_how(app, args);
}

}  // namespace espalier
