#pragma once

#include "formats/nnef/read/call.h"

namespace espalier::nnef {

/// The f32 values that a variable of integers stands for: `call` is its entry in graph.quant, whose
/// parameters but the tensor are literals, single numbers or nested arrays (shapes align in front).
///
///   zero_point_linear_quantize  (q - zero_point) * scale
///   min_max_linear_quantize     (q + p) / r * (max - min) + min with r = 2^bits - 1 - (signed and
///                               symmetric) and p = 2^(bits - 1) - symmetric where signed, else 0
///   linear_quantize             the same, unsigned and not symmetric; signed where the items are
///                               (tract writes so)
///
/// Errors  Fault::kFormat with line:column: bits that the items do not have, an array of another
///         shape; Fault::kUnsupported: any other operation, whose body says no way back.
/// Source  NNEF 1.0.5: quantization operations, quantization file.
ConstantPtr dequantized(const Call& call, const ConstantPtr& stored);

}  // namespace espalier::nnef
