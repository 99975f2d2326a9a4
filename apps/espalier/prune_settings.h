#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/espalier/common_options.h"
#include "apps/espalier/data_options.h"
#include "apps/espalier/destination.h"
#include "apps/espalier/run_info.h"
#include "apps/espalier/selection_check.h"
#include "lib/calibrate/collect.h"
#include "lib/calibrate/statistics_file.h"
#include "lib/search/prune_model.h"
#include "lib/verify/drop_limit.h"

namespace espalier {

/// The command line of prune as it was given; what is not set comes from the recipe or is a default.
struct PruneArgs {
  CommonOptions common;
  DataOptions data;
  std::string input, output, calib, eval;
  std::optional<double> sparsity, target_size, target_latency;
  std::string max_drop, assert_drop, schedule;
  std::optional<uint64_t> at_step;
  std::vector<double> curve;
  std::string block, nm, method, scope, diagonal, values, effort;
  WriteArgs write;
  std::optional<bool> reader_given;  ///< write.reader is the line's, not the recipe's
  std::vector<std::string> operators, exclude, force, layers;
  std::optional<size_t> min_weights;
  size_t calib_memory = CollectOptions().memory_bytes;
  bool no_refit = false, sequential = false, depthwise = false, keep_first_last = false,
       dry_run = false, no_verify = false, in_place = false, confident = false;
  std::string mask_in, mask_out, rewind, recipe, save_recipe, machine, cache;
  /// Of `calib`, where it is a file of statistics that was read already: a sweep makes many settings.
  std::shared_ptr<const StatisticsFile> statistics;
};

/// Where calibration comes from.
struct CalibrationSource {
  enum class Kind { kNone, kInputs, kStatistics } kind = Kind::kNone;
  std::string path;
  CollectOptions collect;
  std::shared_ptr<const StatisticsFile> file = {};  ///< of kStatistics

  /// Whether there are inputs to run the model on, and whether these are all.
  bool has_inputs() const {
    return kind == Kind::kInputs || (file != nullptr && !file->inputs.feeds.empty());
  }
  bool has_all_inputs() const {
    return kind == Kind::kInputs || (file != nullptr && file->inputs.complete());
  }
};

/// All that prune is to do: line and recipe merged and checked. Nothing after it looks at the line.
struct PruneSettings {
  std::string input, rewind;
  PruneRequest request;  ///< without the masks of `mask_in`
  CalibrationSource calib;
  EvaluationSource evaluation;
  DataOptions data;
  Destination destination;
  bool verify = true;
  std::string mask_in, mask_out, save_recipe, cache;
  /// The recipe of this run with the options that were used.
  std::function<std::string(const PruneOptions& used)> recipe_text;
  bool block_auto = false;               ///< the block is what advise measures to be the best
  std::optional<KernelResults> machine;  ///< whose times a target is about; nothing: this one's
  std::string machine_file;
  LinePatterns line;                     ///< which patterns are not the recipe's
  std::optional<DropLimit> assert_drop;  ///< what the metric may lose for a good exit status
  bool by_magnitude_unasked = false;     ///< l2 because nothing better was given
  bool tries_orders = false;             ///< layers at once and in order, and the better one taken
  bool at_any_cost = false;              ///< however much that takes
  CommonOptions common;
  RunInfo run;
};

/// Errors  before the model or any data is opened: Fault::kUsage for options that contradict each
/// other or lack another one, in words of the command line; those of the recipe and of --machine.
PruneSettings prune_settings(const PruneArgs& args);

/// Null where --calib names no file of statistics.
/// Errors  those of read_statistics_file.
std::shared_ptr<const StatisticsFile> statistics_named_by(const std::string& calib);

/// Data, metric and files that the recipe names and the line does not, into `args`.
/// Errors  Fault::kFormat with the recipe's name in front.
void take_run_keys(PruneArgs& args);

/// The limit of --max-drop, of the line or the recipe; nothing where the target is another one.
std::optional<DropLimit> max_drop_of(const PruneSettings& settings);

}  // namespace espalier
