#pragma once

#include <string>
#include <vector>

#include "lib/prune/choose/plan.h"
#include "lib/verify/drop_limit.h"

namespace espalier {

/// What the command line gave itself; all else is the recipe's, whose faults are those of a file.
struct LinePatterns {
  std::vector<std::string> operators, exclude, force, layers;  ///< layers: REGEX:key=value,...
  std::string max_drop;
  std::string recipe;  ///< its file, for messages
};

/// Before any work: patterns and operators that match nothing, and a model of which nothing would
/// be pruned.
/// Errors  Fault::kUsage for a pattern of the line, Fault::kFormat for one of the recipe and where
/// no weight is selected, with the reason for each operator. `file`: the model's, for messages.
void check_selection(const Model& model, const PruneOptions& options, const LinePatterns& line,
                     const std::string& file, bool given_masks);

/// --max-drop without % that allows half of the metric and more.
/// Errors  those of check_bare_drop(); in a recipe Fault::kFormat.
void check_max_drop(const DropLimit& limit, const MetricPair& dense, const LinePatterns& line);

/// For masks that were given: what they leave out is known with the plan alone.
/// Errors  Fault::kFormat where it prunes no weight.
void check_plan_selects(const PrunePlan& plan, const std::string& file);

}  // namespace espalier
