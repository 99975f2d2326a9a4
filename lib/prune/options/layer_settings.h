#pragma once

#include <vector>

#include "lib/prune/options/prune_options.h"

namespace espalier {

/// PruneOptions and the rules that match one layer, put together. What a later or more special
/// option says replaces what it contradicts: a block shape or a sparsity given for a layer cancels
/// N:M from elsewhere, N:M cancels them.
struct LayerSettings {
  BlockShape block;
  std::optional<NofM> nm;
  double sparsity = 0;
  std::string method;
  bool method_by_cost = false;  ///< PruneOptions::method_by_cost, where no rule names a method
  std::vector<double> gate_density;
  bool own_target = false;  ///< has a target of its own: no part of a global threshold
  std::string skipped_by;   ///< pattern of the rule that skips it
};

/// Why a layer is not pruned: its own reason, else the rule that skips it; empty where it is.
std::string left_out_reason(const Layer& layer, const LayerSettings& settings);

/// One for each layer.
/// Errors  Fault::kUsage: a bad option or pattern, a rule that matches no weight, gate densities
/// of the wrong number.
std::vector<LayerSettings> layer_settings(const std::vector<Layer>& layers,
                                          const PruneOptions& options);

}  // namespace espalier
