#pragma once

#include "lib/verify/evaluation.h"

namespace espalier {

/// Multiply-adds of all products with weights in one run on the first feed, zeros counted like any
/// other value. `model` is dense.
/// Errors  those of the run.
double multiply_adds(const Model& model, const Evaluation& evaluation,
                     const ExecutorOptions& options);

}  // namespace espalier
