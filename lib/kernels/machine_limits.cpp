#include "lib/kernels/machine_limits.h"

#include <algorithm>
#include <chrono>

#include "lib/kernels/scratch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/machine_limits.cpp"
#include <hwy/foreach_target.h>  // compiles this file once per instruction set
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace espalier::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;

// Twelve chains of multiply-adds; returns how many operations were done.
size_t MultiplyAdds(size_t rounds, float* result) {
  const D d;
  const auto factor = hn::Set(d, 0.999F), term = hn::Set(d, 0.001F);
  // All different, else a compiler makes one of them.
  auto a = hn::Set(d, 1.0F), b = hn::Set(d, 2.0F), c = hn::Set(d, 3.0F), e = hn::Set(d, 4.0F),
       f = hn::Set(d, 5.0F), g = hn::Set(d, 6.0F), h = hn::Set(d, 7.0F), i = hn::Set(d, 8.0F),
       j = hn::Set(d, 9.0F), k = hn::Set(d, 10.0F), l = hn::Set(d, 11.0F), m = hn::Set(d, 12.0F);
  for (size_t round = 0; round < rounds; ++round) {
    a = hn::MulAdd(a, factor, term);
    b = hn::MulAdd(b, factor, term);
    c = hn::MulAdd(c, factor, term);
    e = hn::MulAdd(e, factor, term);
    f = hn::MulAdd(f, factor, term);
    g = hn::MulAdd(g, factor, term);
    h = hn::MulAdd(h, factor, term);
    i = hn::MulAdd(i, factor, term);
    j = hn::MulAdd(j, factor, term);
    k = hn::MulAdd(k, factor, term);
    l = hn::MulAdd(l, factor, term);
    m = hn::MulAdd(m, factor, term);
  }
  const auto sum = hn::Add(
      hn::Add(hn::Add(a, b), hn::Add(c, e)),
      hn::Add(hn::Add(hn::Add(f, g), hn::Add(h, i)), hn::Add(hn::Add(j, k), hn::Add(l, m))));
  *result = hn::GetLane(sum);
  return rounds * 12 * 2 * hn::Lanes(d);
}

// The sum of `count` floats, a multiple of 8 vectors.
float ReadAll(const float* from, size_t count) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  auto a = hn::Zero(d), b = a, c = a, e = a;
  for (size_t at = 0; at < count; at += 8 * lanes) {
    a = hn::Add(a, hn::Load(d, from + at));
    b = hn::Add(b, hn::Load(d, from + at + lanes));
    c = hn::Add(c, hn::Load(d, from + at + 2 * lanes));
    e = hn::Add(e, hn::Load(d, from + at + 3 * lanes));
    a = hn::Add(a, hn::Load(d, from + at + 4 * lanes));
    b = hn::Add(b, hn::Load(d, from + at + 5 * lanes));
    c = hn::Add(c, hn::Load(d, from + at + 6 * lanes));
    e = hn::Add(e, hn::Load(d, from + at + 7 * lanes));
  }
  return hn::GetLane(hn::Add(hn::Add(a, b), hn::Add(c, e)));
}

}  // namespace
}  // namespace espalier::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace espalier {
namespace {

HWY_EXPORT(MultiplyAdds);
HWY_EXPORT(ReadAll);

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The best rate of `body`, which does `work` at a time, over 20 ms and at least three calls.
template <typename Body>
double best_rate(const Body& body) {
  double best = 0;
  const Clock::time_point start = Clock::now();
  for (size_t call = 0; call < 3 || seconds_since(start) < 0.02; ++call) {
    const Clock::time_point begin = Clock::now();
    const double work = body();
    best = std::max(best, work / seconds_since(begin));
  }
  return best;
}

}  // namespace

double peak_gflops() {
  volatile float kept = 0;
  return 1e-9 * best_rate([&] {
           float result = 0;
           const size_t operations = HWY_DYNAMIC_DISPATCH(MultiplyAdds)(20000, &result);
           kept = result;
           return static_cast<double>(operations);
         });
}

double read_gbytes(size_t bytes) {
  constexpr size_t kStep = 8 * 64 / sizeof(float);  // eight of the longest vectors
  const size_t count = std::max<size_t>(bytes / sizeof(float) / kStep, 1) * kStep;
  const size_t passes = std::max<size_t>((size_t{1} << 20) / (count * sizeof(float)), 1);
  Scratch scratch;
  float* const from = scratch.floats(count);
  std::fill_n(from, count, 1.0F);
  volatile float kept = 0;
  return 1e-9 * best_rate([&] {
           for (size_t pass = 0; pass < passes; ++pass)
             kept = HWY_DYNAMIC_DISPATCH(ReadAll)(from, count);
           return static_cast<double>(passes * count * sizeof(float));
         });
}

}  // namespace espalier
#endif
