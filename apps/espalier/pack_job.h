#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "apps/espalier/common_options.h"
#include "apps/espalier/data_options.h"
#include "formats/format.h"
#include "lib/prune/refit/refit.h"

namespace espalier {

/// What prune, convert and mask apply have in common: a model, what becomes of its weights, where
/// it goes, and what it is checked with.
struct PackJob {
  std::string command;
  std::filesystem::path input, output;  ///< output is empty for a dry run without one
  bool dry_run = false;
  bool verify = true;  ///< run the models and read the output back
  WriteOptions write;

  Model before;  ///< as it was read
  Model masked;  ///< what the packed weights must decode to
  Model packed;
  std::optional<Model> magnitude;  ///< what plain magnitude leaves, to compare with
  bool pruned = true;              ///< masked differs from before on purpose

  std::vector<Layer> layers;                        ///< parallel to rows
  std::vector<LayerResult> rows;                    ///< as far as they are known before the run
  std::vector<std::optional<RefittedBias>> biases;  ///< parallel to layers, or empty
  std::vector<std::pair<std::string, Cell>> options;
  std::vector<CurvePoint> curve;
  std::vector<std::string> notes;

  DataOptions data;
  std::string data_path;  ///< inputs for the runs; "" = random ones
  bool held_out = false;  ///< of these only the feeds that is_held_out() names
};

/// Whether feed `index` of inputs that serve for calibration and for checks is kept for the checks:
/// each tenth.
inline bool is_held_out(size_t index) { return index % 10 == 9; }

/// Checks in memory, writes, reads back, checks again, puts the output in place, measures, reports.
/// Returns kDone, or kOutOfTolerance where packed and decoded weights disagree (then the output
/// stays what it was before).
int finish(PackJob job, const CommonOptions& common);

/// A row without what only a run tells. `after` is the weight as it will be stored, in `profile`.
LayerResult layer_row(const Layer& layer, const Weight& before, const Weight& after,
                      const std::string& profile = "");

/// The profile that will be used, "" where nothing is written.
/// Errors  Fault::kUsage for a profile that the output's format has not.
std::string resolved_profile(const std::filesystem::path& output, const std::string& profile);

/// Before any work: values that the output's format cannot store. `values` is --values, "" = the
/// weight's own type.
/// Errors  Fault::kUnsupported.
void check_values_of(const std::filesystem::path& output, const std::string& profile,
                     const std::string& values);

}  // namespace espalier
