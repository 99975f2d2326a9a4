#pragma once

#include <cstdint>

namespace espalier {

/// Bytes that programs can still take without swapping, as the system estimates it, and no more
/// than what limits on this process and its control group leave.
uint64_t available_memory();

}  // namespace espalier
