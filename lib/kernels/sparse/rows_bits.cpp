// The loops of rows.cpp for a few samples of 1x1 blocks that are not rare: values stay packed in
// memory, a bitmap says which lanes of a vector they fill.
#include "lib/kernels/sparse/rows_task.h"

#include <array>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/sparse/rows_bits.cpp"
#include <hwy/foreach_target.h>  // compiles this file once per instruction set
#include <hwy/highway.h>
// after foreach_target.h
#include "lib/kernels/held_vector-inl.h"

#ifndef ESPALIER_ROWS_BITS_TABLES
#define ESPALIER_ROWS_BITS_TABLES
namespace espalier {
namespace {

// For each mask of kLanes lanes which byte each byte of a vector comes from; 0x80: none, it is 0.
// Lanes of 4 bytes are filled four at a time: values of the upper ones are counted from 0 again.
template <size_t kLanes, size_t kBytes>
struct ExpandTable {
  static constexpr size_t kSize = kLanes * kBytes;
  alignas(64) std::array<uint8_t, (size_t{1} << kLanes) * kSize> bytes{};

  constexpr ExpandTable() {
    for (size_t mask = 0; mask < size_t{1} << kLanes; ++mask) {
      size_t value = 0;
      for (size_t lane = 0; lane < kLanes; ++lane) {
        if (lane * kBytes % 16 == 0) value = 0;
        const bool filled = (mask >> lane & 1) != 0;
        for (size_t byte = 0; byte < kBytes; ++byte)
          bytes[mask * kSize + lane * kBytes + byte] =
              filled ? static_cast<uint8_t>(value * kBytes + byte) : 0x80;
        value += filled ? 1 : 0;
      }
    }
  }
};

template <size_t kLanes, size_t kBytes>
inline constexpr ExpandTable<kLanes, kBytes> kExpand;

// Bits of each byte: in all of it in the high byte, in its lower half in the low byte.
constexpr std::array<uint16_t, 256> count_bits() {
  std::array<uint16_t, 256> counts{};
  for (size_t mask = 0; mask < 256; ++mask) {
    for (size_t bit = 0; bit < 8; ++bit) {
      if ((mask >> bit & 1) != 0) counts[mask] += bit < 4 ? 0x101 : 0x100;
    }
  }
  return counts;
}
inline constexpr std::array<uint16_t, 256> kCounts = count_bits();

}  // namespace
}  // namespace espalier
#endif  // ESPALIER_ROWS_BITS_TABLES

HWY_BEFORE_NAMESPACE();
namespace espalier::HWY_NAMESPACE {
namespace {

#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
constexpr size_t kLanes = 16;
#elif HWY_TARGET == HWY_AVX2
constexpr size_t kLanes = 8;
#elif HWY_TARGET == HWY_SCALAR
constexpr size_t kLanes = 1;
#else
constexpr size_t kLanes = 4;
#endif
using Floats = hn::CappedTag<float, kLanes>;
static_assert(hn::MaxLanes(Floats()) == kLanes);

template <class V, class D>
HWY_INLINE hn::Vec<Floats> widen(D narrow, V values) {
  const Floats d;
  if constexpr (std::is_same_v<hn::TFromD<D>, int8_t>) {
    return hn::ConvertTo(d, hn::PromoteTo(hn::RebindToSigned<Floats>(), values));
  } else if constexpr (std::is_same_v<hn::TFromD<D>, float>) {
    static_cast<void>(narrow);
    return values;
  } else {
    return hn::PromoteTo(d, values);
  }
}

// The next values in the lanes that `mask` has, zeros in the others. Moves `values` on.
template <class T>
HWY_INLINE hn::Vec<Floats> expand(size_t mask, const T* HWY_RESTRICT& values) {
  const Floats d;
  const hn::Rebind<T, Floats> stored;
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
  const auto packed = widen(stored, hn::LoadU(stored, values));
  values += hwy::PopCount(mask);
  // The instruction waits for the register that it writes, with zeroing too (measured on Zen 4: 6
  // cycles a vector, 3.3 where each starts from zeros that the compiler cannot fold into it).
  __m512 zeros = _mm512_setzero_ps();
  __asm__("" : "+v"(zeros));
  return hn::Vec<Floats>{_mm512_mask_expand_ps(zeros, static_cast<__mmask16>(mask), packed.raw)};
#elif HWY_TARGET == HWY_SCALAR
  if (mask == 0) return hn::Zero(d);
  return widen(stored, hn::LoadU(stored, values++));
#else
  using Bytes = hn::Repartition<uint8_t, decltype(stored)>;
  const auto& table = kExpand<kLanes, sizeof(T)>;
  const auto places = hn::Load(Bytes(), table.bytes.data() + mask * table.kSize);
  const size_t counts = kCounts[mask];
  const T* const from = values;
  values += counts >> 8;
  if constexpr (kLanes * sizeof(T) > 16) {
    const hn::Half<Floats> half;
    const auto packed =
        hn::Combine(d, hn::LoadU(half, from + (counts & 0xFF)), hn::LoadU(half, from));
    return hn::BitCast(d, hn::TableLookupBytesOr0(hn::BitCast(Bytes(), packed), places));
  } else {
    const auto packed = hn::BitCast(Bytes(), hn::LoadU(stored, from));
    return widen(stored, hn::BitCast(stored, hn::TableLookupBytesOr0(packed, places)));
  }
#endif
}

// One output of some samples: the values of a vector of inputs are spread over its lanes by their bits;
// groups of lanes add up in chains of their own.
template <size_t kSamples, class T>
HWY_INLINE void output(const BitsTask& t, size_t row, size_t sample) {
  const Floats d;
  constexpr size_t kChains = kSamples >= 4 ? 1 : 4 / kSamples;
  constexpr size_t kGroups = kWordInputs / kLanes;
  Held<Floats> sum[kChains][kSamples];
  HWY_UNROLL(16)
  for (size_t i = 0; i < kChains; ++i) {
    HWY_UNROLL(16)
    for (size_t s = 0; s < kSamples; ++s) sum[i][s] = hn::Zero(d);
  }
  const T* HWY_RESTRICT values = reinterpret_cast<const T*>(t.values) + t.w->row_start[row];
  const uint64_t* HWY_RESTRICT bits = t.bits + row * t.words;
  const float* HWY_RESTRICT x = t.x + sample * t.x_stride;
  for (size_t word = 0; word < t.words; ++word, x += kWordInputs) {
    const uint64_t all = bits[word];
    HWY_UNROLL(16)
    for (size_t group = 0; group < kGroups; ++group) {
      constexpr uint64_t kMask = (uint64_t{1} << kLanes) - 1;
      const size_t mask = static_cast<size_t>(all >> (group * kLanes) & kMask);
      const hn::Vec<Floats> weights = expand(mask, values);
      HWY_UNROLL(16)
      for (size_t s = 0; s < kSamples; ++s)
        sum[group % kChains][s] = hn::MulAdd(
            weights, hn::LoadU(d, x + s * t.x_stride + group * kLanes), sum[group % kChains][s]);
    }
  }
  HWY_UNROLL(16)
  for (size_t s = 0; s < kSamples; ++s) {
    hn::Vec<Floats> all = sum[0][s];
    HWY_UNROLL(16)
    for (size_t i = 1; i < kChains; ++i) all = hn::Add(all, hn::Vec<Floats>(sum[i][s]));
    float result = hn::GetLane(hn::SumOfLanes(d, all));
    if (t.scale != nullptr) result *= t.scale[row];
    if (!t.w->diagonal.empty())
      result += t.w->diagonal[row] * t.x[(sample + s) * t.x_stride + t.w->places[row].row_in_part];
    if (t.bias != nullptr) result += t.bias[row];
    t.y[(sample + s) * t.y_sample + row * t.y_output] = result;
  }
}

template <size_t kSamples, class T>
void outputs(const BitsTask& t, size_t sample) {
  for (size_t row = t.first; row < t.last; ++row) output<kSamples, T>(t, row, sample);
}

template <class T>
void samples(const BitsTask& t) {
  size_t sample = 0;
  for (; sample + 4 <= t.samples; sample += 4) outputs<4, T>(t, sample);
  for (; sample + 2 <= t.samples; sample += 2) outputs<2, T>(t, sample);
  if (sample < t.samples) outputs<1, T>(t, sample);
}

void run(const BitsTask& t) {
  switch (t.dtype) {
    case DType::kF16:
      return samples<hwy::float16_t>(t);
    case DType::kBF16:
      return samples<hwy::bfloat16_t>(t);
    case DType::kI8:
      return samples<int8_t>(t);
    default:
      return samples<float>(t);
  }
}

// Measured on Zen 3 (AVX2) and Zen 4 (AVX-512, where one sample takes half the time per element).
double least_density(size_t n, bool narrow) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
  if (n == 1) return narrow ? 0.25 : 0.2;
#else
  static_cast<void>(n);
#endif
  return narrow ? 0.3 : 0.4;
}

// Of floats, those below a power of two are those whose bits without the sign are below its own.
bool all_small(const float* x, size_t count) {
  const hn::CappedTag<int32_t, 16> d;
  Held<decltype(d)> most = hn::Zero(d);
  const auto magnitude = hn::Set(d, 0x7FFFFFFF);
  for (size_t i = 0; i < count; i += hn::MaxLanes(d))
    most = hn::Max(hn::And(hn::LoadU(d, reinterpret_cast<const int32_t*>(x + i)), magnitude),
                   hn::Vec<decltype(d)>(most));
  constexpr int32_t kBits = (127 + 100) << 23;
  return hn::GetLane(hn::MaxOfLanes(d, hn::Vec<decltype(d)>(most))) < kBits;
}

}  // namespace
}  // namespace espalier::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace espalier {

HWY_EXPORT(run);
HWY_EXPORT(least_density);
HWY_EXPORT(all_small);

void rows_bits(const BitsTask& task) { HWY_DYNAMIC_DISPATCH(run)(task); }
double least_bits_density(size_t n, bool narrow) {
  return HWY_DYNAMIC_DISPATCH(least_density)(n, narrow);
}
bool are_small(const float* x, size_t count) { return HWY_DYNAMIC_DISPATCH(all_small)(x, count); }

}  // namespace espalier
#endif  // HWY_ONCE
