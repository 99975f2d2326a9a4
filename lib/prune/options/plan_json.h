#pragma once

#include <string>
#include <string_view>

#include "lib/prune/plan.h"

namespace espalier {

/// The recipe: PruneOptions as JSON (docs/recipe.schema.json). Unknown keys, wrong types, values
/// out of range (NaN too) and nesting deeper than 16 are Fault::kFormat naming the key.
PruneOptions read_recipe(std::string_view text);
/// Keys of `text` over `base`: those that it does not name keep base's value.
PruneOptions read_recipe(std::string_view text, const PruneOptions& base);
std::string recipe_json(const PruneOptions& options);

/// The plan: what was decided per layer, without the masks' bits (those are the .npz of
/// --mask-out).
std::string plan_json(const PrunePlan& plan);

}  // namespace espalier
