#pragma once

#include <optional>

#include "lib/prune/options/prune_options.h"
#include "lib/prune/select/selection.h"

namespace espalier {

/// 2:4 or 4:8 where the zeros of a weight lie so: in no group of inputs of one output (of a
/// convolution: channels of one window position) more elements are kept, and overall hardly fewer.
/// Diagonals of square parts are not looked at. nullopt for fewer than 32 groups, which may be so by
/// chance.
std::optional<NofM> nm_pattern(const Weight& weight, const Layer& layer);

}  // namespace espalier
