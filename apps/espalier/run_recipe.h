#pragma once

#include <set>
#include <string>
#include <string_view>

#include "apps/espalier/prune_settings.h"

namespace espalier {

/// The keys of a recipe that are options of a run, not of what is pruned: data, metric, files, as on
/// the command line ("calib", "metric-cmd", "input-shape").
const std::set<std::string>& run_keys();

/// Sets what `text` says of these and the line does not.
/// Errors  Fault::kFormat naming the key. What else the recipe holds is read_recipe()'s matter.
void read_run_keys(std::string_view text, PruneArgs& args);

/// `recipe`, as recipe_json() gives it, with those of these options that are set.
std::string with_run_keys(const std::string& recipe, const PruneArgs& args);

}  // namespace espalier
