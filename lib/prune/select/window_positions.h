#pragma once

#include "lib/prune/select/selection.h"

namespace espalier {

/// Window positions that each input channel of a convolution has side by side in the layer's
/// columns, [channel, position]; 1 where columns are inputs.
size_t window_positions(const Layer& layer);

}  // namespace espalier
