#pragma once

#include "lib/prune/score/statistics.h"
#include "lib/prune/select/selection.h"

namespace espalier {

/// Errors  Fault::kFormat: `found` are of another model's weight of that name, or of another shape.
void check_fit(const Model& model, const Layer& layer, const LayerStatistics& found);

}  // namespace espalier
