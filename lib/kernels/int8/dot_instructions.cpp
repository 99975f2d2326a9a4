#include "lib/kernels/int8/dot_instructions.h"

#include <algorithm>
#include <chrono>

#include "lib/kernels/int8/int8_task.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/int8/dot_instructions.cpp"
#include <hwy/foreach_target.h>  // compiles this file once per instruction set
#include <hwy/highway.h>
// after highway.h
#include "lib/kernels/int8/dot4-inl.h"

#if HWY_ARCH_ARM_A64
#include <sys/auxv.h>
#endif

HWY_BEFORE_NAMESPACE();
namespace espalier::HWY_NAMESPACE {
namespace {

bool may_dot() { return kMayDot; }

// Twelve chains of dot products; how many operations were done.
template <bool kDot>
size_t rounds_of(size_t rounds, int32_t* result) {
  const hn::CappedTag<int32_t, kTileSamples> d;
  constexpr size_t kChains = 12;
  Held<decltype(d)> sum[kChains];
  const auto x = hn::Set(d, result[0]), w = hn::Set(d, result[1]);
  HWY_UNROLL(16)
  for (size_t i = 0; i < kChains; ++i) sum[i] = hn::Set(d, static_cast<int32_t>(i));
  for (size_t round = 0; round < rounds; ++round) {
    HWY_UNROLL(16)
    for (size_t i = 0; i < kChains; ++i) sum[i] = dot4<kDot>(d, sum[i], x, w);
  }
  hn::Vec<decltype(d)> all = sum[0];
  HWY_UNROLL(16)
  for (size_t i = 1; i < kChains; ++i) all = hn::Add(all, sum[i]);
  result[2] = hn::GetLane(all);
  return rounds * kChains * hn::MaxLanes(d) * 8;
}

size_t operations(size_t rounds, int32_t* result, bool dot) {
  if (kMayDot && dot) return rounds_of<kMayDot>(rounds, result);
  return rounds_of<false>(rounds, result);
}

}  // namespace
}  // namespace espalier::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace espalier {

namespace {

HWY_EXPORT(may_dot);
HWY_EXPORT(operations);

bool processor_dots() {
#if HWY_ARCH_X86
  return __builtin_cpu_supports("avx512vnni") != 0;
#elif HWY_ARCH_ARM_A64
  return (getauxval(AT_HWCAP) & (1UL << 20)) != 0;  // ASIMDDP
#else
  return false;
#endif
}

bool& dots_allowed() {
  static bool allowed = true;
  return allowed;
}

}  // namespace

void set_dot_instructions(bool use) { dots_allowed() = use; }

bool dot_instructions() {
  static const bool available = processor_dots();
  return dots_allowed() && available && HWY_DYNAMIC_DISPATCH(may_dot)();
}

double peak_int8_gops() {
  using Clock = std::chrono::steady_clock;
  double best = 0;
  for (int call = 0; call < 40; ++call) {
    int32_t data[3] = {0x01020304, 0x04030201, 0};
    const Clock::time_point start = Clock::now();
    const size_t done = HWY_DYNAMIC_DISPATCH(operations)(20000, data, dot_instructions());
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::max(best, 1e-9 * static_cast<double>(done) / seconds);
  }
  return best;
}

}  // namespace espalier
#endif  // HWY_ONCE
