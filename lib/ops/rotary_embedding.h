#pragma once

#include "lib/ops/expansion.h"

namespace espalier {

/// ONNX's RotaryEmbedding (opset 23) as slices, products and sums.
void expand_rotary_embedding(Expansion& expansion);
/// Whether the extents that this needs are known. Everything else ONNX defines by a function.
bool is_plain_rotary_embedding(const Expansion& expansion);

}  // namespace espalier
