#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace espalier {

/// Names of the instruction sets of this machine that the kernels are compiled for, best first, and
/// the one in use.
std::vector<std::string> simd_targets();
std::string simd_target();
/// Errors  Fault::kUsage for a name that is not in simd_targets().
void set_simd_target(std::string_view name);

}  // namespace espalier
