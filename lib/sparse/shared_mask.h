#pragma once

#include <memory>

#include "lib/sparse/block_mask.h"

namespace espalier {

/// The mask, which all that keep an equal one share as long as one of them lives: what is made of a
/// weight later (Tensor::deferred) keeps its mask, masked and packed alike, and that of single
/// weights takes a bit for each of them.
std::shared_ptr<const BlockMask> shared_mask(const BlockMask& mask);

}  // namespace espalier
