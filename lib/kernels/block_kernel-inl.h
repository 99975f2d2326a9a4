// The loops of the block kernels for blocks of R rows (8 or 16) x C columns; included once per
// instruction set by sparse_RxC.cpp.
//
// inner: lanes = rows of the block. A column of a block is loaded once and multiplied with one
//   broadcast value of each of up to eight samples, whose sums stay in registers along the row.
// outer: lanes = samples. A vector of X is loaded once and multiplied with the broadcast weights of
//   4 to 16 rows, whose sums stay in registers along the row.
#if defined(ESPALIER_LIB_KERNELS_BLOCK_KERNEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ESPALIER_LIB_KERNELS_BLOCK_KERNEL_INL_H_
#undef ESPALIER_LIB_KERNELS_BLOCK_KERNEL_INL_H_
#else
#define ESPALIER_LIB_KERNELS_BLOCK_KERNEL_INL_H_
#endif

#include <hwy/highway.h>

#include "lib/kernels/block_product.h"

HWY_BEFORE_NAMESPACE();
namespace espalier::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// AVX-512 and AArch64 have 32 vector registers, the others 16.
constexpr size_t kVectorRegisters = HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM_A64 ? 32 : 16;

template <size_t R>
using RowTag = hn::CappedTag<float, R>;

// Sums of one block row for kSamples samples, rows in the lanes. Several chains per sum where there
// are few samples, so that an addition need not wait for the one before.
template <size_t R, size_t C, size_t kSamples, bool kFeaturesTogether>
struct InnerSums {
  static constexpr RowTag<R> d{};
  static constexpr size_t kLanes = hn::MaxLanes(d), kVectors = R / kLanes;
  static constexpr size_t kSums = kSamples * kVectors;
  static constexpr size_t kChains = kSums >= 5 ? 1 : kSums >= 3 ? 2 : 4;
  hn::Vec<RowTag<R>> sum[kChains][kSamples][kVectors];

  HWY_INLINE void clear() {
    for (size_t i = 0; i < kChains; ++i)
      for (size_t s = 0; s < kSamples; ++s)
        for (size_t v = 0; v < kVectors; ++v) sum[i][s][v] = hn::Zero(d);
  }

  // One column of a block.
  template <size_t kChain>
  HWY_INLINE void add(const float* HWY_RESTRICT column, const float* HWY_RESTRICT x,
                      size_t x_sample) {
    hn::Vec<RowTag<R>> weights[kVectors];
    for (size_t v = 0; v < kVectors; ++v) weights[v] = hn::Load(d, column + v * kLanes);
    for (size_t s = 0; s < kSamples; ++s) {
      const auto value = hn::Set(d, x[s * (kFeaturesTogether ? x_sample : 1)]);
      for (size_t v = 0; v < kVectors; ++v)
        sum[kChain][s][v] = hn::MulAdd(weights[v], value, sum[kChain][s][v]);
    }
  }

  // One block; kFirst counts the columns since the chains were last at 0.
  template <size_t kFirst, size_t c = 0>
  HWY_INLINE void add_block(const float* HWY_RESTRICT block, const float* HWY_RESTRICT x,
                            size_t x_sample, size_t x_feature) {
    if constexpr (c < C) {
      add<(kFirst + c) % kChains>(block + c * R, x + c * x_feature, x_sample);
      add_block<kFirst, c + 1>(block, x, x_sample, x_feature);
    }
  }

  HWY_INLINE void join() {
    for (size_t s = 0; s < kSamples; ++s) {
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

// Writes a whole block row where the features of a sample lie together.
template <size_t R, class Sums>
HWY_INLINE void finish_whole(const InnerTask& t, const BlockRowPlace& place, const Sums& sums,
                             const float* x, float* y, size_t samples) {
  constexpr auto d = Sums::d;
  const float* diagonal = t.w->diagonal.empty() ? nullptr : t.w->diagonal.data() + place.output;
  for (size_t s = 0; s < samples; ++s) {
    for (size_t v = 0; v < Sums::kVectors; ++v) {
      const size_t lane = v * Sums::kLanes;
      auto sum = sums.sum[0][s][v];
      if (diagonal != nullptr)
        sum = hn::MulAdd(hn::LoadU(d, diagonal + lane),
                         hn::LoadU(d, x + s * t.x_sample + place.row_in_part + lane), sum);
      if (t.bias != nullptr) sum = hn::Add(sum, hn::LoadU(d, t.bias + place.output + lane));
      hn::StoreU(sum, d, y + s * t.y_sample + place.output + lane);
    }
  }
}

// Writes the valid rows of a block row in any layout.
template <size_t R, class Sums>
HWY_NOINLINE void finish_any(const InnerTask& t, const BlockRowPlace& place, const Sums& sums,
                             const float* x, float* y, size_t samples) {
  HWY_ALIGN float lanes[R];
  for (size_t s = 0; s < samples; ++s) {
    for (size_t v = 0; v < Sums::kVectors; ++v)
      hn::Store(sums.sum[0][s][v], Sums::d, lanes + v * Sums::kLanes);
    for (size_t r = 0; r < place.valid; ++r) {
      float sum = lanes[r];
      if (!t.w->diagonal.empty())
        sum += t.w->diagonal[place.output + r] *
               x[s * t.x_sample + (place.row_in_part + r) * t.x_feature];
      if (t.bias != nullptr) sum += t.bias[place.output + r];
      y[s * t.y_sample + (place.output + r) * t.y_output] = sum;
    }
  }
}

template <size_t R, size_t C, size_t kSamples, bool kFeaturesTogether, class Column>
HWY_INLINE void inner_rows(const InnerTask& t, const Column* HWY_RESTRICT columns, const float* x,
                           float* y) {
  using Sums = InnerSums<R, C, kSamples, kFeaturesTogether>;
  constexpr size_t kAtOnce = Sums::kChains > C ? Sums::kChains / C : 1;  // blocks
  const float* HWY_RESTRICT values = t.w->values.template data<float>().data();
  const size_t x_sample = t.x_sample, x_feature = kFeaturesTogether ? 1 : t.x_feature;
  for (size_t row = t.first; row < t.last; ++row) {
    Sums sums;
    sums.clear();
    size_t b = t.w->row_start[row];
    const size_t end = t.w->row_start[row + 1];
    for (; b + kAtOnce <= end; b += kAtOnce) {
      const float* HWY_RESTRICT block = values + b * R * C;
      sums.template add_block<0>(block, x + columns[b] * x_feature, x_sample, x_feature);
      if constexpr (kAtOnce > 1)
        sums.template add_block<C>(block + R * C, x + columns[b + 1] * x_feature, x_sample,
                                   x_feature);
      if constexpr (kAtOnce > 2) {
        sums.template add_block<2 * C>(block + 2 * R * C, x + columns[b + 2] * x_feature, x_sample,
                                       x_feature);
        sums.template add_block<3 * C>(block + 3 * R * C, x + columns[b + 3] * x_feature, x_sample,
                                       x_feature);
      }
    }
    for (; b < end; ++b)
      sums.template add_block<0>(values + b * R * C, x + columns[b] * x_feature, x_sample,
                                 x_feature);
    sums.join();
    const BlockRowPlace place = place_of(*t.w, row);
    if (kFeaturesTogether && place.valid == R) {
      finish_whole<R>(t, place, sums, x, y, kSamples);
    } else {
      finish_any<R>(t, place, sums, x, y, kSamples);
    }
  }
}

// Samples whose sums fit into registers beside one column of a block and a broadcast value.
template <size_t R>
constexpr size_t max_samples() {
  constexpr size_t vectors = R / hn::MaxLanes(RowTag<R>());
  constexpr size_t fitting = (kVectorRegisters - 4) / vectors;
  return fitting < 1 ? 1 : fitting < 8 ? fitting : 8;
}

template <size_t R, size_t C, bool kFeaturesTogether, class Column, size_t kSamples = 1>
HWY_INLINE void inner_group(const InnerTask& t, const Column* columns, const float* x, float* y,
                            size_t samples) {
  if constexpr (kSamples <= max_samples<R>()) {
    if (samples == kSamples) {
      inner_rows<R, C, kSamples, kFeaturesTogether>(t, columns, x, y);
    } else {
      inner_group<R, C, kFeaturesTogether, Column, kSamples + 1>(t, columns, x, y, samples);
    }
  }
}

// The samples in groups of about equal size: X of one group stays in the first cache while the
// weights pass by once.
template <size_t R, size_t C, bool kFeaturesTogether, class Column>
HWY_INLINE void inner_groups(const InnerTask& t, const Column* columns) {
  const size_t groups = (t.n + max_samples<R>() - 1) / max_samples<R>();
  for (size_t group = 0, first = 0; group < groups; ++group) {
    const size_t samples = (t.n - first + groups - group - 1) / (groups - group);
    inner_group<R, C, kFeaturesTogether>(t, columns, t.x + first * t.x_sample,
                                         t.y + first * t.y_sample, samples);
    first += samples;
  }
}

template <size_t R, size_t C, class Column>
HWY_INLINE void inner_columns(const InnerTask& t, const Column* columns) {
  if (t.x_feature == 1) {
    inner_groups<R, C, true>(t, columns);
  } else {
    inner_groups<R, C, false>(t, columns);
  }
}

template <size_t R, size_t C>
HWY_INLINE void block_inner(const InnerTask& t) {
  if (t.w->wide_col.empty()) {
    inner_columns<R, C>(t, t.w->narrow_col.data());
  } else {
    inner_columns<R, C>(t, t.w->wide_col.data());
  }
}

// How many samples a tile of registers holds: the whole panel where vectors are long.
using SampleTag = hn::CappedTag<float, kPanelSamples>;
constexpr size_t kSampleLanes = hn::MaxLanes(SampleTag());
constexpr size_t kSampleVectors = kSampleLanes == kPanelSamples ? 1 : 2;
template <size_t R>
constexpr size_t kRowsAtOnce = kVectorRegisters == 32 ? (R < 16 ? R : 16) : 4;

template <size_t kRows>
struct OuterSums {
  static constexpr SampleTag d{};
  hn::Vec<SampleTag> sum[kRows][kSampleVectors];

  HWY_INLINE void start(const float* bias, size_t valid) {
    for (size_t r = 0; r < kRows; ++r) {
      const auto start = bias != nullptr && r < valid ? hn::Set(d, bias[r]) : hn::Zero(d);
      for (size_t v = 0; v < kSampleVectors; ++v) sum[r][v] = start;
    }
  }

  HWY_INLINE void add(const float* HWY_RESTRICT weights, const float* HWY_RESTRICT x) {
    hn::Vec<SampleTag> value[kSampleVectors];
    for (size_t v = 0; v < kSampleVectors; ++v) value[v] = hn::LoadU(d, x + v * kSampleLanes);
    for (size_t r = 0; r < kRows; ++r) {
      const auto weight = hn::Set(d, weights[r]);
      for (size_t v = 0; v < kSampleVectors; ++v)
        sum[r][v] = hn::MulAdd(weight, value[v], sum[r][v]);
    }
  }

  HWY_INLINE void add_diagonal(const float* diagonal, const float* x, size_t valid) {
    for (size_t r = 0; r < kRows; ++r) {
      if (r >= valid) continue;
      const auto weight = hn::Set(d, diagonal[r]);
      for (size_t v = 0; v < kSampleVectors; ++v)
        sum[r][v] =
            hn::MulAdd(weight, hn::LoadU(d, x + r * kPanelSamples + v * kSampleLanes), sum[r][v]);
    }
  }

  HWY_INLINE void store(float* y, size_t y_stride, size_t valid, size_t samples) const {
    for (size_t r = 0; r < kRows; ++r) {
      if (r >= valid) continue;
      for (size_t v = 0; v < kSampleVectors; ++v) {
        float* to = y + r * y_stride + v * kSampleLanes;
        if ((v + 1) * kSampleLanes <= samples) {
          hn::StoreU(sum[r][v], d, to);
        } else if (v * kSampleLanes < samples) {
          HWY_ALIGN float lanes[kSampleLanes];
          hn::Store(sum[r][v], d, lanes);
          for (size_t s = 0; v * kSampleLanes + s < samples; ++s) to[s] = lanes[s];
        }
      }
    }
  }
};

template <size_t R, size_t C, class Column>
HWY_INLINE void outer_columns(const OuterTask& t, const Column* HWY_RESTRICT columns) {
  constexpr size_t kRows = kRowsAtOnce<R>, kTile = kSampleLanes * kSampleVectors;
  const float* HWY_RESTRICT values = t.w->values.template data<float>().data();
  for (size_t row = t.first; row < t.last; ++row) {
    const BlockRowPlace place = place_of(*t.w, row);
    const size_t begin = t.w->row_start[row], end = t.w->row_start[row + 1];
    for (size_t sample = 0; sample < t.samples; sample += kTile) {
      for (size_t r = 0; r < place.valid; r += kRows) {
        const float* HWY_RESTRICT panel = t.panel + sample;
        OuterSums<kRows> sums;
        sums.start(t.bias == nullptr ? nullptr : t.bias + place.output + r, place.valid - r);
        for (size_t b = begin; b < end; ++b)
          for (size_t c = 0; c < C; ++c)
            sums.add(values + (b * C + c) * R + r, panel + (columns[b] + c) * kPanelSamples);
        if (!t.w->diagonal.empty())
          sums.add_diagonal(t.w->diagonal.data() + place.output + r,
                            panel + (place.row_in_part + r) * kPanelSamples, place.valid - r);
        sums.store(t.y + (place.output + r) * t.y_stride + sample, t.y_stride, place.valid - r,
                   t.samples - sample);
      }
    }
  }
}

template <size_t R, size_t C>
HWY_INLINE void block_outer(const OuterTask& t) {
  if (t.w->wide_col.empty()) {
    outer_columns<R, C>(t, t.w->narrow_col.data());
  } else {
    outer_columns<R, C>(t, t.w->wide_col.data());
  }
}

}  // namespace espalier::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // once per instruction set
