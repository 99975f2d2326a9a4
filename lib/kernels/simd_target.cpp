#include "lib/kernels/simd_target.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lib/base/error.h"

// Only to learn which targets the kernels are compiled for; this file has no kernel.
#include <hwy/highway.h>
#include <hwy/targets.h>

namespace espalier {
namespace {

// What the processor has and the kernels were compiled for, without regard to set_simd_target():
// one bit per target, the lowest the best.
int64_t available() {
  static const int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  return targets;
}

int64_t lowest_bit(int64_t mask) { return mask & -mask; }

}  // namespace

std::vector<std::string> simd_targets() {
  std::vector<std::string> names;
  for (int64_t rest = available(); rest != 0; rest &= rest - 1)
    names.emplace_back(hwy::TargetName(lowest_bit(rest)));
  if ((available() & HWY_STATIC_TARGET) == 0)
    names.emplace_back(hwy::TargetName(HWY_STATIC_TARGET));
  return names;
}

std::string simd_target() {
  static_cast<void>(available());
  const int64_t in_use = hwy::SupportedTargets() & HWY_TARGETS;
  return hwy::TargetName(in_use == 0 ? HWY_STATIC_TARGET : lowest_bit(in_use));
}

void set_simd_target(std::string_view name) {
  for (int64_t rest = available() | HWY_STATIC_TARGET; rest != 0; rest &= rest - 1) {
    if (hwy::TargetName(lowest_bit(rest)) != name) continue;
    hwy::SetSupportedTargetsForTest(lowest_bit(rest));
    return;
  }
  throw Error(Fault::kUsage,
              fmt::format("instruction set is {}, expected one that this machine has: {}",
                          printable(name), fmt::join(simd_targets(), ", ")));
}

}  // namespace espalier
