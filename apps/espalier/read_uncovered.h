#pragma once

#include <filesystem>

#include "lib/ir/model.h"

namespace espalier {

/// The model of a file with the weights that its operators make of constants as constants of their
/// own (lib/passes/uncover_weights.h), and loops over the steps of a recurrent layer as that layer
/// (lib/passes/recurrent_loops.h): for commands that look for weights.
Model read_uncovered(const std::filesystem::path& path, size_t threads);

}  // namespace espalier
