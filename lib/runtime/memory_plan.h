#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace espalier {

/// A piece of memory that lives from step `first` to step `last`, both included.
struct Lifetime {
  size_t bytes = 0, first = 0, last = 0;
};

struct MemoryPlan {
  std::vector<size_t> offsets;  ///< parallel to the lifetimes; multiples of 64
  size_t bytes = 0;             ///< of the arena
};

/// Offsets at which no two pieces that live at the same step overlap. Largest pieces first, each at
/// the lowest place that is free during its life (greedy by size, arXiv:2001.03288, section 4.3).
MemoryPlan plan_memory(std::span<const Lifetime> lifetimes);

}  // namespace espalier
