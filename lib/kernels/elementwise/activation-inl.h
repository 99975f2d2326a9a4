// exp, sigmoid and tanh of a vector; included once per instruction set.
//
// e^x = 2^n (1 + r P(r)), n = x / ln 2 rounded, |r| <= ln 2 / 2: P is a minimax polynomial of
// (e^r - 1) / r, relative error 1.1e-8. 2^n is made by a sum whose last bits are n and its bias, so
// that one shift puts them where a float has its exponent. It is half of 2^n, which lets e^x reach
// the largest float.
#if defined(ESPALIER_LIB_KERNELS_ACTIVATION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ESPALIER_LIB_KERNELS_ACTIVATION_INL_H_
#undef ESPALIER_LIB_KERNELS_ACTIVATION_INL_H_
#else
#define ESPALIER_LIB_KERNELS_ACTIVATION_INL_H_
#endif

#include <hwy/highway.h>
// after highway.h
#include "lib/kernels/held_vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace espalier::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Held to low .. high; NaN stays NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V clamp_of(D d, V x, float low, float high) {
  const V least = hn::Set(d, low), most = hn::Set(d, high);
#if HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR
  return hn::Max(least, hn::Min(most, x));  // of two, minps and maxps give the second if one is NaN
#else
  const V raised = hn::IfThenElse(hn::Lt(x, least), least, x);
  return hn::IfThenElse(hn::Gt(raised, most), most, raised);
#endif
}

// e^x = 2 half (1 + r slope).
template <class D>
struct ExpParts {
  Held<D> half, r, slope;
};

template <class D, class V = hn::Vec<D>>
HWY_INLINE ExpParts<D> exp_parts(D d, V x) {
  const hn::Rebind<uint32_t, D> bits;
  const V rounding = hn::Set(d, 12582912.0F + 126);  // 1.5 * 2^23: the last bit is worth 1
  const V sum = hn::MulAdd(x, hn::Set(d, 1.44269504F), rounding);
  const V n = hn::Sub(sum, rounding);
  V r = hn::MulAdd(n, hn::Set(d, -0.693145751953125F), x);  // few bits, so that n times it is exact
  r = hn::MulAdd(n, hn::Set(d, -1.42860677e-6F), r);
  V slope = hn::MulAdd(r, hn::Set(d, 0.0013888873F), hn::Set(d, 0.008369283F));
  slope = hn::MulAdd(slope, r, hn::Set(d, 0.04166714F));
  slope = hn::MulAdd(slope, r, hn::Set(d, 0.16666505F));
  slope = hn::MulAdd(slope, r, hn::Set(d, 0.49999998F));
  slope = hn::MulAdd(slope, r, hn::Set(d, 1.0F));
  return {hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(bits, sum))), r, slope};
}

// e^x / 2; 0 below 1.2e-38, infinite from 2^128 on.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V half_exp_of(D d, V x) {
  const auto [half, r, slope] = exp_parts(d, clamp_of(d, x, -87.5F, 89.4F));
  return hn::Mul(half, hn::MulAdd(r, slope, hn::Set(d, 1.0F)));
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V exp_of(D d, V x) {
  const V half = half_exp_of(d, x);
  return hn::Add(half, half);
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V sigmoid_of(D d, V x) {
  const V half = hn::Set(d, 0.5F);
  return hn::Div(half, hn::Add(half, half_exp_of(d, hn::Neg(x))));
}

// (e^2x - 1) / (e^2x + 1), without the cancellation.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V tanh_of(D d, V x) {
  const V one_half = hn::Set(d, 0.5F);
  const auto [half, r, slope] = exp_parts(d, clamp_of(d, hn::Add(x, x), -19.0F, 19.0F));
  const V above = hn::MulAdd(half, hn::Mul(r, slope), hn::Sub(half, one_half));  // (e^2x - 1) / 2
  return hn::Div(above, hn::Add(above, hn::Set(d, 1.0F)));
}

}  // namespace espalier::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // toggle
