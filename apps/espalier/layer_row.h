#pragma once

#include "lib/prune/choose/plan.h"
#include "lib/report/results.h"
#include "lib/verify/packed_models.h"

namespace espalier {

/// A row without what only a run tells. `after` is the weight as it will be stored, in `profile`.
LayerResult layer_row(const Layer& layer, const Weight& before, const Weight& after,
                      const std::string& profile = "");

/// The share of zeros that a plan left in its layer's weight; a diagonal apart does not count.
double zeros_left(const PackedModels& models, const LayerPlan& plan);

/// The row of a layer whose weight is no constant of the model (stored_weight() is null): what it is
/// and why it is left out.
LayerResult unstored_row(const Layer& layer);

}  // namespace espalier
