#pragma once

#include "lib/base/thread_pool.h"
#include "lib/prune/choose/plan.h"
#include "lib/prune/score/statistics.h"

namespace espalier {

/// Selects, scores and chooses. Of blocks with equal scores the one of the lower index goes first.
/// Per layer the dropped weights come as near to the asked share as whole blocks allow; with scope
/// global all layers without a target of their own share one threshold.
/// Errors  Fault::kUsage: a bad option or pattern, a rule that matches no weight, gate densities of
/// the wrong number, different methods under one global threshold, a method that needs
/// `statistics` without any; Fault::kFormat: statistics of another model. A layer that they lack is
/// chosen by l2, with a warning.
PrunePlan make_plan(const Model& model, const PruneOptions& options, ThreadPool& pool,
                    const Statistics* statistics = nullptr);

}  // namespace espalier
