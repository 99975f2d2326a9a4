#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lib/prune/options/prune_options.h"
#include "lib/prune/select/selection.h"
#include "lib/sparse/block_mask.h"

namespace espalier {

/// What is to be done to one weight. `mask` is empty for a layer that is left out; one that has
/// `values` all the same is stored in that type with all its blocks.
struct LayerPlan {
  Layer layer;
  BlockShape block;
  std::optional<NofM> nm;
  std::string method;            ///< that was used
  double obs_multiply_adds = 0;  ///< where obs gave way to another: what it would have taken
  double sparsity = 0;           ///< asked for
  bool diagonal = false;         ///< kept apart
  std::string values;            ///< stored type of this one; "" = that of PrunePlan::options
  BlockMask mask;
};

/// Same plan + same model = same bytes.
struct PrunePlan {
  PruneOptions options;
  std::vector<LayerPlan> layers;
};

}  // namespace espalier
