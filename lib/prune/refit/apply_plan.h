#pragma once

#include "lib/base/thread_pool.h"
#include "lib/prune/choose/plan.h"

namespace espalier {

/// Dropped weights become zeros, all others keep their bits. Still dense.
Model apply_plan(const Model& model, const PrunePlan& plan, ThreadPool& pool);

}  // namespace espalier
