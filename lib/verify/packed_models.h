#pragma once

#include <optional>
#include <vector>

#include "lib/prune/refit/refit.h"
#include "lib/prune/select/selection.h"

namespace espalier {

/// A model, and what became of its weights.
struct PackedModels {
  Model before;  ///< as it was read
  Model masked;  ///< what the packed weights must decode to
  Model packed;
  std::optional<Model> magnitude;  ///< what plain magnitude leaves, to compare with
  bool pruned = true;              ///< masked differs from before on purpose

  std::vector<Layer> layers;  ///< `left_out` is empty where a layer was to be packed
  std::vector<std::optional<RefittedBias>> biases;  ///< parallel to layers, or empty

  /// Lets go of what the layer's weights take in memory: done with them for now.
  void give_back(const Layer& layer) const {
    for (const Model* model : {&before, &masked, &packed}) weight_of(*model, layer).give_back();
  }
};

}  // namespace espalier
