#include "lib/base/limits.h"

#include <array>

namespace espalier {

std::span<const Limit> all_limits() {
  using limits::kKiB, limits::kMiB;
  static constexpr auto kLimits = std::to_array<Limit>({
#define ESPALIER_LIMIT(name, value, unit, what) {#name, value, unit, what},
#include "lib/base/limits.def"
  });
  return kLimits;
}

}  // namespace espalier
