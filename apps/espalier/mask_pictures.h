#pragma once

#include <vector>

#include "lib/prune/choose/plan.h"
#include "lib/report/report.h"

namespace espalier {

/// Which blocks of each pruned weight are kept. All pictures together have some four million cells
/// at most: a cell of a larger mask is several blocks.
std::vector<MaskPicture> mask_pictures(const PrunePlan& plan);

}  // namespace espalier
