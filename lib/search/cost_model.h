#pragma once

#include "lib/kernels/sparse/measured_choice.h"
#include "lib/report/results.h"
#include "lib/search/time_line.h"
#include "lib/sparse/block_shape.h"

namespace espalier {

/// Times of Y[m, n] = W[m, k] X[k, n] in such blocks on the machine that was measured: from the
/// rows of that block, values of type `dtype` and the nearest n, then the nearest size of W, scaled by the
/// multiply-adds.
/// Errors  Fault::kUnsupported: no rows of that block and type; the text says how to measure them.
TimeLine predict(const KernelResults& machine, BlockShape block, size_t m, size_t k, size_t n,
                 std::string_view dtype = "f32");

/// Packed or dense as predict() says, with rows of the weight's own type of values.
MeasuredChoice measured_choice(KernelResults machine);

}  // namespace espalier
