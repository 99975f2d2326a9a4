#pragma once

#include <filesystem>
#include <optional>

#include "apps/espalier/data_options.h"
#include "apps/espalier/destination.h"
#include "lib/ir/model.h"
#include "lib/verify/evaluation.h"

namespace espalier {

/// Runs the first feed through the model and fits the labels to as many of its outputs as there are
/// feeds: what would be wrong after calibration and pruning is said before. Without labels, or
/// where the model is not run, nothing is done.
/// Errors  those of the run; Fault::kFormat, naming the file of labels, the sizes, and --metric's
/// default where that does not fit.
void try_labels(const Model& model, const Evaluation& evaluation, const DataOptions& options,
                const ExecutorOptions& executor);

/// The number that --metric-cmd prints for `input`, after it printed one for the unpruned model in
/// the output's format, too; a warning where the two differ.
/// Errors  those of run_metric_command() and write_model().
double try_metric_command(const std::string& command, const std::filesystem::path& input,
                          const Model& model, const Destination& destination);

}  // namespace espalier
