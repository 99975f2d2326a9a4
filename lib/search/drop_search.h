#pragma once

#include "lib/search/trials.h"

namespace espalier {

/// The smallest model whose metric lost no more than options.target allows: of one choice of types the
/// largest sparsity, found down a coarse grid (curves go up and down, so that the first sparsity
/// that misses is not the end) and then by halving to 0.4 %; of more than one (`types`) the
/// smallest weights. Goes on down the grid until 0.5 % of the metric is kept, for Reached::at_drops.
/// Errors  Fault::kUnsupported: no sparsity keeps the drop; an interval is asked for that `meter`
///         does not give.
Reached reach_drop(const WeightsAt& weights_at, const PruneOptions& options, const Meter& meter,
                   const ValueTypes* types, ThreadPool& pool);

}  // namespace espalier
