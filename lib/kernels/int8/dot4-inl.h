// Dot products of four bytes with four bytes, summed in 32 bits; included once per instruction set.
//
// x86 multiplies unsigned with signed bytes: x is q + 128 there, and sums begin at -128 * the sum
// of the row's values.
#if defined(ESPALIER_LIB_KERNELS_INT8_DOT4_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ESPALIER_LIB_KERNELS_INT8_DOT4_INL_H_
#undef ESPALIER_LIB_KERNELS_INT8_DOT4_INL_H_
#else
#define ESPALIER_LIB_KERNELS_INT8_DOT4_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <cstring>

#include "lib/kernels/held_vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace espalier::HWY_NAMESPACE {
namespace {

constexpr bool kUnsigned = HWY_ARCH_X86;  // bytes of x are q + 128
constexpr uint32_t kFlip = kUnsigned ? 0x80 : 0;

// Whether this instruction set may come with dot instructions.
constexpr bool kMayDot = HWY_TARGET == HWY_AVX3 || (HWY_ARCH_ARM_A64 && HWY_TARGET == HWY_NEON);

// sum + x[0] w[0] + .. + x[3] w[3] in each lane of 32 bits.
template <bool kDot, class D, class V = hn::Vec<D>>
HWY_INLINE V dot4(D d, hn::Vec<D> sum, hn::Vec<D> x, hn::Vec<D> w) {
#if HWY_TARGET == HWY_AVX3
  if constexpr (kDot) {  // an instruction by name: Highway's section does not switch it on
    asm("vpdpbusd %2, %1, %0" : "+v"(sum.raw) : "v"(x.raw), "v"(w.raw));
    return sum;
  }
#endif
#if HWY_HAVE_SCALABLE
  static_cast<void>(d);
  return svdot_s32(sum, svreinterpret_s8_s32(x), svreinterpret_s8_s32(w));
#elif HWY_TARGET == HWY_NEON
#if HWY_ARCH_ARM_A64
  if constexpr (kDot) {
    // GNU as 2.40 takes no ".arch_extension dotprod".
    asm(".arch armv8.2-a+crypto+dotprod\n\tsdot %0.4s, %1.16b, %2.16b"
        : "+w"(sum.raw)
        : "w"(x.raw), "w"(w.raw));
    return sum;
  }
#endif
  static_cast<void>(d);
  const int8x16_t a = vreinterpretq_s8_s32(x.raw), b = vreinterpretq_s8_s32(w.raw);
  const int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b));
  const int16x8_t high = vmull_s8(vget_high_s8(a), vget_high_s8(b));
  // Two products are at most 2 * 127 * 128.
  const int16x8_t pairs = vcombine_s16(vpadd_s16(vget_low_s16(low), vget_high_s16(low)),
                                       vpadd_s16(vget_low_s16(high), vget_high_s16(high)));
  return V(vpadalq_s16(sum.raw, pairs));
#elif HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128
  const hn::Repartition<int16_t, D> d16;
  const hn::Repartition<uint16_t, D> u16;
  const auto w16 = hn::BitCast(d16, w);
  auto none = hn::Zero(d);
  sum = hn::ReorderWidenMulAccumulate(d, hn::And(hn::BitCast(d16, x), hn::Set(d16, 0xFF)),
                                      hn::ShiftRight<8>(hn::ShiftLeft<8>(w16)), sum, none);
  return hn::ReorderWidenMulAccumulate(d, hn::BitCast(d16, hn::ShiftRight<8>(hn::BitCast(u16, x))),
                                       hn::ShiftRight<8>(w16), sum, none);
#else
  int32_t sums[hn::MaxLanes(d)], xs[hn::MaxLanes(d)], ws[hn::MaxLanes(d)];
  hn::StoreU(sum, d, sums);
  hn::StoreU(x, d, xs);
  hn::StoreU(w, d, ws);
  for (size_t i = 0; i < hn::MaxLanes(d); ++i) {
    for (int shift = 0; shift < 32; shift += 8) {
      const int32_t byte = (xs[i] >> shift) & 0xFF;
      sums[i] += (kUnsigned ? byte : static_cast<int8_t>(byte)) *
                 static_cast<int8_t>((ws[i] >> shift) & 0xFF);
    }
  }
  return hn::LoadU(d, sums);
#endif
}

HWY_INLINE int32_t four_bytes(const void* from) {
  int32_t value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

// dot4() with the vector of values at w, and with the four values at w in each lane.
template <bool kDot, class D, class V = hn::Vec<D>>
HWY_INLINE V dot4_vector(D d, hn::Vec<D> sum, hn::Vec<D> x, const int8_t* w) {
#if HWY_TARGET == HWY_AVX3
  if constexpr (kDot) {
    asm("vpdpbusd %2, %1, %0"
        : "+v"(sum.raw)
        : "v"(x.raw), "m"(*reinterpret_cast<const decltype(sum.raw)*>(w)));
    return sum;
  }
#endif
  return dot4<kDot>(d, sum, x, hn::LoadU(d, reinterpret_cast<const int32_t*>(w)));
}

template <bool kDot, class D, class V = hn::Vec<D>>
HWY_INLINE V dot4_single(D d, hn::Vec<D> sum, hn::Vec<D> x, const int8_t* w) {
#if HWY_TARGET == HWY_AVX3
  if constexpr (kDot && hn::MaxLanes(d) == 16) {
    asm("vpdpbusd %2%{1to16%}, %1, %0"
        : "+v"(sum.raw)
        : "v"(x.raw), "m"(*reinterpret_cast<const int8_t(*)[4]>(w)));
    return sum;
  }
#endif
  return dot4<kDot>(d, sum, x, hn::Set(d, four_bytes(w)));
}

// A number as a type, for loops that are unrolled by hand.
template <size_t kValue>
using Index = std::integral_constant<size_t, kValue>;

}  // namespace
}  // namespace espalier::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // once per instruction set
