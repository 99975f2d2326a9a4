#pragma once

#include <cstdint>

namespace espalier {

/// Bytes that programs can still take without swapping, as the system estimates it, and no more
/// than what limits on this process and its control group leave.
uint64_t available_memory();

/// Hands what was freed on the heap back to the system, which free() does at its end alone: after
/// many pieces of some MiB, of which others stay in between.
void give_back_freed_memory();

}  // namespace espalier
