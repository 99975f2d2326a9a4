// Samples rounded to 8 bits. Compiled without contraction of floating-point expressions
// (CMakeLists.txt), so that every instruction set rounds alike.
#include "lib/kernels/int8/int8_task.h"

#include <algorithm>
#include <bit>
#include <limits>
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/int8/quantize.cpp"
#include <hwy/foreach_target.h>  // compiles this file once per instruction set
#include <hwy/highway.h>
// after highway.h
#include "lib/kernels/int8/dot4-inl.h"

HWY_BEFORE_NAMESPACE();
namespace espalier::HWY_NAMESPACE {
namespace {

// Vectors of 16 floats at most: what is rounded at a time.
using DF = hn::CappedTag<float, kTileSamples>;
using DI = hn::RebindToSigned<DF>;
using DU = hn::RebindToUnsigned<DF>;
constexpr size_t kLanes = hn::MaxLanes(DF());

struct Step {
  float step, inverse;
};

// By the bits of the largest magnitude, which are ordered like the magnitudes.
Step step_of(int32_t bits) {
  if (bits == 0) return {0.0F, 0.0F};
  const float most = std::bit_cast<float>(bits);
  if (bits >= 0x7F800000 || most < 0x1p-100F)
    return {std::numeric_limits<float>::quiet_NaN(), 0.0F};
  return {most / 127.0F, 127.0F / most};
}

// x / step rounded to the nearest integer, ties to even, in the lowest byte: a number that large
// has no fraction left.
constexpr float kRound = 12582912.0F + kFlip;  // 1.5 * 2^23

HWY_INLINE hn::Vec<DU> rounded(hn::Vec<DF> x, hn::Vec<DF> inverse) {
  const DF df;
  return hn::BitCast(DU(), hn::Add(hn::Mul(x, inverse), hn::Set(df, kRound)));
}

HWY_INLINE hn::Vec<DI> magnitude_bits(hn::Vec<DF> x) { return hn::BitCast(DI(), hn::Abs(x)); }

void rows(const QuantizeRows& t) {
  const DF df;
  const DI di;
  const hn::Rebind<uint8_t, DF> d8;
  for (size_t s = 0; s < t.n; ++s) {
    const float* HWY_RESTRICT x = t.x + s * t.k;
    uint8_t* HWY_RESTRICT to = t.to.bytes + s * t.padded_k;
    auto most = hn::Zero(di);
    size_t f = 0;
    for (; f + kLanes <= t.k; f += kLanes)
      most = hn::Max(most, magnitude_bits(hn::LoadU(df, x + f)));
    int32_t bits = hn::GetLane(hn::MaxOfLanes(di, most));
    for (; f < t.k; ++f) bits = std::max(bits, std::bit_cast<int32_t>(x[f]) & 0x7FFFFFFF);
    const Step step = step_of(bits);
    t.to.steps[s] = step.step;
    const auto inverse = hn::Set(df, step.inverse);
    for (f = 0; f + kLanes <= t.k; f += kLanes)
      hn::StoreU(hn::TruncateTo(d8, rounded(hn::LoadU(df, x + f), inverse)), d8, to + f);
    for (; f < t.k; ++f)
      to[f] = static_cast<uint8_t>(std::bit_cast<uint32_t>(x[f] * step.inverse + kRound));
    std::fill(to + t.k, to + t.padded_k, static_cast<uint8_t>(kFlip));
  }
}

// Vector after vector of samples: their largest magnitudes, their steps, then the bytes, of each
// feature or, with by_fours, of four features as one word, filled up with zeros.
void tile(const QuantizeTile& t) {
  const DF df;
  const DI di;
  const DU du;
  const hn::Rebind<uint8_t, DF> d8;
  for (size_t s = 0; s < kTileSamples; s += kLanes) {
    auto most = hn::Zero(di);
    for (size_t f = 0; f < t.k; ++f)
      most = hn::Max(most, magnitude_bits(hn::LoadU(df, t.x + f * t.stride + s)));
    HWY_ALIGN int32_t bits[kLanes];
    HWY_ALIGN float inverses[kLanes];
    hn::Store(most, di, bits);
    for (size_t i = 0; i < kLanes; ++i) {
      const Step step = step_of(bits[i]);
      t.to.steps[s + i] = step.step;
      inverses[i] = step.inverse;
    }
    const auto inverse = hn::Load(df, inverses);
    const float* HWY_RESTRICT x = t.x + s;
    if (!t.by_fours) {
      for (size_t f = 0; f < t.k; ++f)
        hn::StoreU(hn::TruncateTo(d8, rounded(hn::LoadU(df, x + f * t.stride), inverse)), d8,
                   t.to.bytes + f * kTileSamples + s);
      continue;
    }
    const auto byte = hn::Set(du, 0xFF);
    auto* HWY_RESTRICT to = reinterpret_cast<uint32_t*>(t.to.bytes) + s;
    size_t f = 0;
    for (; f + 4 <= t.k; f += 4, to += kTileSamples) {
      const auto at = [&](size_t i) HWY_ATTR {
        return rounded(hn::LoadU(df, x + (f + i) * t.stride), inverse);
      };
      const auto low = hn::Or(hn::And(at(0), byte), hn::ShiftLeft<8>(hn::And(at(1), byte)));
      const auto high = hn::Or(hn::ShiftLeft<16>(hn::And(at(2), byte)), hn::ShiftLeft<24>(at(3)));
      hn::StoreU(hn::Or(low, high), du, to);
    }
    for (; f < t.padded_k; f += 4, to += kTileSamples) {
      auto fours = hn::Set(du, kFlip * 0x01010101U);
      for (size_t i = 0; f + i < t.k; ++i) {
        const auto one = hn::And(
            hn::Xor(rounded(hn::LoadU(df, x + (f + i) * t.stride), inverse), hn::Set(du, kFlip)),
            byte);
        fours = hn::Xor(fours, hn::ShiftLeftSame(one, static_cast<int>(8 * i)));
      }
      hn::StoreU(fours, du, to);
    }
  }
}

}  // namespace
}  // namespace espalier::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace espalier {

HWY_EXPORT(rows);
HWY_EXPORT(tile);

void quantize(const QuantizeRows& task) { HWY_DYNAMIC_DISPATCH(rows)(task); }
void quantize(const QuantizeTile& task) { HWY_DYNAMIC_DISPATCH(tile)(task); }

}  // namespace espalier
#endif  // HWY_ONCE
