#pragma once

#include "apps/espalier/prune_settings.h"

namespace CLI {
class App;
}

namespace espalier {

/// Declares the options of prune: what is pruned; what is written, with which data.
void add_prune_options(CLI::App& app, PruneArgs& args);

}  // namespace espalier
