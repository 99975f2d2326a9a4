#pragma once

#include <string>
#include <vector>

#include "lib/prune/options/prune_options.h"

namespace espalier {

/// A pattern or an operator of the options that matches no prunable weight. `option` as on the
/// command line without dashes: op, exclude, force or layer.
struct Unmatched {
  std::string option, text;
};

/// All of them, but for those that may match nothing. `layers`: all of the model, those left out
/// too.
std::vector<Unmatched> unmatched_patterns(const std::vector<Layer>& layers,
                                          const PruneOptions& options);

/// Every layer with why it is left out, rules that skip it included. Errors  as layer_settings.
std::vector<Layer> layers_with_reasons(const Model& model, const PruneOptions& options);

/// Why no layer is selected, operator by operator; empty where one is.
std::string why_none_is_selected(const std::vector<Layer>& layers);

}  // namespace espalier
