#pragma once

#include <set>
#include <string>
#include <string_view>

#include "lib/prune/options/prune_options.h"

namespace espalier {

/// The recipe: PruneOptions as JSON (docs/recipe.schema.json). Unknown keys, wrong types, values
/// out of range (NaN too) and nesting deeper than 16 are Fault::kFormat naming the key.
PruneOptions read_recipe(std::string_view text);
/// Keys of `text` over `base`: those that it does not name keep base's value. Keys are spelled as
/// options of the command line, or with _ for -. `others` are the caller's own.
PruneOptions read_recipe(std::string_view text, const PruneOptions& base,
                         const std::set<std::string>& others = {});
std::string recipe_json(const PruneOptions& options);

}  // namespace espalier
