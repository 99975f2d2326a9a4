#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "apps/espalier/common_options.h"
#include "apps/espalier/destination.h"
#include "lib/report/results.h"
#include "lib/verify/drop_limit.h"
#include "lib/verify/evaluation.h"
#include "lib/verify/findings.h"
#include "lib/verify/packed_models.h"

namespace espalier {

/// What the report says that is known before anything is run.
struct Heading {
  std::string command;
  std::filesystem::path input;
  std::vector<std::pair<std::string, Cell>> options;
  std::vector<LayerResult> rows;  ///< parallel to the models' layers
  std::vector<CurvePoint> curve;
  std::vector<std::string> notes;
  RunInfo run;
  std::vector<MaskPicture> masks = {};          ///< for a page
  std::optional<double> metric_limit = {};      ///< the worst that a target allows
  std::optional<double> reached_sparsity = {};  ///< of the curve what is written
  std::string reached_values = {};              ///< PackResults::reached_values
};

/// How the result is judged.
struct Judging {
  bool verify = true;  ///< run the models and read the output back
  std::string metric_command;
  std::optional<double> command_before = {};  ///< what it printed for the input
  std::optional<DropLimit> assert_drop = {};  ///< what the metric may lose for kDone
};

/// Runs, writes, reads back and measures. Where packed and decoded weights disagree nothing is
/// replaced. `timed`: dense and packed are timed, in total and by layer.
Findings findings_of(const PackedModels& models, const Evaluation& evaluation,
                     const Destination& destination, const std::filesystem::path& input,
                     const Judging& judging, const ExecutorOptions& options, bool timed = true);

/// The last stages of prune, convert and mask apply: checks in memory, writes, reads back, checks
/// again, puts the output in place, measures, reports. Returns kDone, or kOutOfTolerance where
/// packed and decoded weights disagree (then the output stays what it was before), or the metric lost
/// more than is allowed (the output is there then).
int finish(const PackedModels& models, const Evaluation& evaluation, const Destination& destination,
           Heading heading, const Judging& judging, const CommonOptions& common);

}  // namespace espalier
