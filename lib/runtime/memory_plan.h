#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace espalier {

/// A piece of memory that is in use from step `first` to step `last`, both included.
struct Lifetime {
  size_t bytes = 0, first = 0, last = 0;
};

/// Where each piece lies in one block of memory; pieces in use at the same step do not overlap.
struct MemoryPlan {
  std::vector<size_t> offsets;  ///< multiples of kMemoryAlignment
  size_t bytes = 0;             ///< of the whole block
};
inline constexpr size_t kMemoryAlignment = 64;

/// Greedy best fit in order of time: a piece goes into the smallest gap that takes it, else to the
/// end. `pieces` ascend by `first`. n log n for n pieces.
MemoryPlan plan_memory(std::span<const Lifetime> pieces);

}  // namespace espalier
