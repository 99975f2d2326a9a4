// Vectors that structs and arrays can hold, and how many the registers hold; included once per
// instruction set.
#if defined(ESPALIER_LIB_KERNELS_HELD_VECTOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ESPALIER_LIB_KERNELS_HELD_VECTOR_INL_H_
#undef ESPALIER_LIB_KERNELS_HELD_VECTOR_INL_H_
#else
#define ESPALIER_LIB_KERNELS_HELD_VECTOR_INL_H_
#endif

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace espalier::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// AVX-512 and AArch64 have 32 vector registers, the others 16.
constexpr size_t kVectorRegisters = HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM_A64 ? 32 : 16;

#if HWY_HAVE_SCALABLE
// Vectors of SVE have no size. These have the one that the target is for (SVE_256, SVE2_128) and
// -msve-vector-bits names; Highway takes such a target only where the machine's vectors are as long.
// Source: Arm C Language Extensions, "arm_sve_vector_bits".
typedef svfloat32_t HeldFloats __attribute__((arm_sve_vector_bits(HWY_MAX_BYTES * 8)));
typedef svint32_t HeldInts __attribute__((arm_sve_vector_bits(HWY_MAX_BYTES * 8)));
template <class T>
struct HeldOf;
template <>
struct HeldOf<float> {
  using type = HeldFloats;
};
template <>
struct HeldOf<int32_t> {
  using type = HeldInts;
};
template <class D>
using Held = typename HeldOf<hn::TFromD<D>>::type;
#else
template <class D>
using Held = hn::Vec<D>;
#endif

}  // namespace espalier::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // once per instruction set
