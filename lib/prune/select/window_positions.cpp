#include "lib/prune/select/window_positions.h"

namespace espalier {

// A transposed convolution's positions are outputs.
size_t window_positions(const Layer& layer) {
  size_t positions = 1;
  if (!layer.op.ends_with("Conv") || layer.fold.transposed) return positions;
  for (size_t axis = 2; axis < layer.shape.size(); ++axis)
    positions *= static_cast<size_t>(layer.shape[axis]);
  return layer.fold.cols % positions == 0 ? positions : 1;
}

}  // namespace espalier
