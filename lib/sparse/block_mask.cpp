#include "lib/sparse/block_mask.h"

#include <algorithm>

namespace espalier {

size_t BlockMask::kept_blocks() const {
  return static_cast<size_t>(std::ranges::count(kept, true));
}

}  // namespace espalier
