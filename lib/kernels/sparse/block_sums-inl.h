// Sums of the block kernels with lanes = rows of the block (block_inner-inl.h); included once per
// instruction set.
//
// Loops over arrays of vectors are unrolled by HWY_UNROLL: GCC keeps an array in registers only
// where it unrolls all of its loops early.
#if defined(ESPALIER_LIB_KERNELS_BLOCK_SUMS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ESPALIER_LIB_KERNELS_BLOCK_SUMS_INL_H_
#undef ESPALIER_LIB_KERNELS_BLOCK_SUMS_INL_H_
#else
#define ESPALIER_LIB_KERNELS_BLOCK_SUMS_INL_H_
#endif

#include <hwy/highway.h>

#include "lib/kernels/held_vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace espalier::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <size_t R>
using RowTag = hn::CappedTag<float, R>;

// x[0 .. I - 1], again and again.
template <size_t I, class D>
HWY_INLINE hn::Vec<D> repeat(D d, const float* HWY_RESTRICT x) {
  if constexpr (I == 1) {
    return hn::Set(d, x[0]);
  } else if constexpr (I == 4) {
    return hn::LoadDup128(d, x);
  } else {
    static_assert(I == 2);
#if HWY_ARCH_X86
    using Two = double;  // integers would go through a general register
#else
    using Two = uint64_t;
#endif
    Two two;
    hwy::CopyBytes<sizeof(two)>(x, &two);
    return hn::BitCast(d, hn::Set(hn::Repartition<Two, D>(), two));
  }
}

// A vector of weights as f32, whatever they are stored as.
template <class D>
HWY_INLINE hn::Vec<D> load_weights(D d, const float* from) {
  return hn::Load(d, from);
}
template <class D, class T>
HWY_INLINE hn::Vec<D> load_weights(D d, const T* from) {
  const hn::Rebind<T, D> narrow;
  if constexpr (sizeof(T) == 1) {
    return hn::ConvertTo(d, hn::PromoteTo(hn::RebindToSigned<D>(), hn::LoadU(narrow, from)));
  } else {
    return hn::PromoteTo(d, hn::LoadU(narrow, from));
  }
}

// Sums of one block row for kSamples samples, rows in the lanes. Several chains per sum where there
// are few samples, so that an addition need not wait for the one before.
template <size_t R, size_t C, size_t I, size_t kSamples, bool kFeaturesTogether, class T>
struct InnerSums {
  using D = RowTag<R * I>;
  static constexpr D d{};
  static constexpr size_t kLanes = hn::MaxLanes(d), kVectors = R * I / kLanes;
  static constexpr size_t kSums = kSamples * kVectors;
  static constexpr size_t kChains = kSums >= 5 ? 1 : kSums >= 3 ? 2 : 4;
  static constexpr size_t kSteps = C / I;  // of a block
  Held<D> sum[kChains][kSamples][kVectors];

  HWY_INLINE void clear() {
    HWY_UNROLL(16)
    for (size_t i = 0; i < kChains; ++i) {
      HWY_UNROLL(16)
      for (size_t s = 0; s < kSamples; ++s) {
        HWY_UNROLL(16)
        for (size_t v = 0; v < kVectors; ++v) sum[i][s][v] = hn::Zero(d);
      }
    }
  }

  // I columns of a block.
  template <size_t kChain>
  HWY_INLINE void add(const T* HWY_RESTRICT columns, const float* HWY_RESTRICT x, size_t x_sample) {
    Held<D> weights[kVectors];
    HWY_UNROLL(16)
    for (size_t v = 0; v < kVectors; ++v) weights[v] = load_weights(d, columns + v * kLanes);
    HWY_UNROLL(16)
    for (size_t s = 0; s < kSamples; ++s) {
      const auto value = repeat<I>(d, x + s * (kFeaturesTogether ? x_sample : 1));
      HWY_UNROLL(16)
      for (size_t v = 0; v < kVectors; ++v)
        sum[kChain][s][v] = hn::MulAdd(weights[v], value, sum[kChain][s][v]);
    }
  }

  // One block; kFirst counts the steps since the chains were last at 0.
  template <size_t kFirst, size_t step = 0>
  HWY_INLINE void add_block(const T* HWY_RESTRICT block, const float* HWY_RESTRICT x,
                            size_t x_sample, size_t x_feature) {
    if constexpr (step < kSteps) {
      add<(kFirst + step) % kChains>(block + step * R * I, x + step * I * x_feature, x_sample);
      add_block<kFirst, step + 1>(block, x, x_sample, x_feature);
    }
  }

  HWY_INLINE void join() {
    HWY_UNROLL(16)
    for (size_t s = 0; s < kSamples; ++s) {
      HWY_UNROLL(16)
      for (size_t v = 0; v < kVectors; ++v) {
        if constexpr (kChains == 4) {
          sum[0][s][v] =
              hn::Add(hn::Add(sum[0][s][v], sum[1][s][v]), hn::Add(sum[2][s][v], sum[3][s][v]));
        } else if constexpr (kChains == 2) {
          sum[0][s][v] = hn::Add(sum[0][s][v], sum[1][s][v]);
        }
      }
    }
  }
};

// Sums with a lane for each row.
template <size_t R, size_t kSamples>
struct RowSums {
  static constexpr RowTag<R> d{};
  static constexpr size_t kLanes = hn::MaxLanes(d), kVectors = R / kLanes;
  Held<RowTag<R>> sum[1][kSamples][kVectors];

  HWY_INLINE void load(const float* HWY_RESTRICT lanes) {
    HWY_UNROLL(16)
    for (size_t s = 0; s < kSamples; ++s) {
      HWY_UNROLL(16)
      for (size_t v = 0; v < kVectors; ++v) sum[0][s][v] = hn::Load(d, lanes + s * R + v * kLanes);
    }
  }
};

// Adds neighbouring lanes of kCount vectors, which then fill half as many.
template <size_t kCount, class D>
HWY_INLINE void add_neighbours(D d, Held<D>* HWY_RESTRICT flat) {
#if HWY_TARGET != HWY_SCALAR  // which has no neighbours
  HWY_UNROLL(16)
  for (size_t i = 0; i < (kCount + 1) / 2; ++i) {
    const hn::Vec<D> a = flat[2 * i], b = flat[HWY_MIN(2 * i + 1, kCount - 1)];
    flat[i] = hn::Add(hn::ConcatEven(d, b, a), hn::ConcatOdd(d, b, a));
  }
#endif
}

// The first lanes of a vector, as many as `to` has.
template <class To, class D>
HWY_INLINE hn::Vec<To> low_lanes(To to, D d, hn::Vec<D> v) {
  if constexpr (hn::MaxLanes(d) == hn::MaxLanes(to)) {
    return v;
  } else {
    const hn::Half<D> half;
    return low_lanes(to, half, hn::LowerHalf(half, v));
  }
}

// The sums of InnerSums whose I columns have lanes of their own.
template <size_t R, size_t I, size_t kSamples, class Sums>
HWY_INLINE void sum_columns(const Sums& sums, RowSums<R, kSamples>& rows) {
  constexpr auto d = Sums::d;
  constexpr size_t kCount = Sums::kSums;
  Held<typename Sums::D> flat[kCount];
  HWY_UNROLL(16)
  for (size_t s = 0; s < kSamples; ++s) {
    HWY_UNROLL(16)
    for (size_t v = 0; v < Sums::kVectors; ++v) flat[s * Sums::kVectors + v] = sums.sum[0][s][v];
  }
  add_neighbours<kCount>(d, flat);
  if constexpr (I == 4) add_neighbours<(kCount + 1) / 2>(d, flat);
  constexpr size_t kLeft = I == 4 ? (kCount + 3) / 4 : (kCount + 1) / 2;
  if constexpr (!HWY_HAVE_SCALABLE && kSamples == 1 && kLeft == 1 && RowSums<R, 1>::kVectors == 1) {
    rows.sum[0][0][0] = low_lanes(RowTag<R>(), d, flat[0]);
    return;
  }
  HWY_ALIGN float lanes[kLeft * Sums::kLanes];
  HWY_UNROLL(16)
  for (size_t i = 0; i < kLeft; ++i) hn::Store(flat[i], d, lanes + i * Sums::kLanes);
  rows.load(lanes);
}

// Sums of quantized weights times what a step of each row is worth.
template <class Sums>
HWY_INLINE void scale_sums(Sums& sums, size_t samples, const float* scale) {
  HWY_UNROLL(16)
  for (size_t s = 0; s < samples; ++s) {
    HWY_UNROLL(16)
    for (size_t v = 0; v < Sums::kVectors; ++v)
      sums.sum[0][s][v] = hn::Mul(sums.sum[0][s][v], hn::LoadU(Sums::d, scale + v * Sums::kLanes));
  }
}

}  // namespace espalier::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // once per instruction set
