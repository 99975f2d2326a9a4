// The loops of the block kernels for blocks of R rows (4, 8 or 16) x C columns; included once per
// instruction set by sparse_RxC.cpp.
//
// inner: lanes = rows of the block. A column of a block is loaded once and multiplied with one
//   broadcast value of each of up to eight samples, whose sums stay in registers along the row.
//   Blocks of fewer rows than a long vector has lanes take I = 16 / R columns at a time: their
//   values lie beside each other, row by row, I values of x are repeated, and at the end of a row
//   the sums of I lanes are added.
// outer: lanes = samples. A vector of X is loaded once and multiplied with the broadcast weights of
//   4 to 16 rows, whose sums stay in registers along the row. Where registers are many and long, up
//   to three vectors for 8 rows: a load of X or of a weight then serves several multiply-adds.
//
// Loops over arrays of vectors are unrolled by HWY_UNROLL: GCC keeps an array in registers only
// where it unrolls all of its loops early.
#if defined(ESPALIER_LIB_KERNELS_BLOCK_KERNEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ESPALIER_LIB_KERNELS_BLOCK_KERNEL_INL_H_
#undef ESPALIER_LIB_KERNELS_BLOCK_KERNEL_INL_H_
#else
#define ESPALIER_LIB_KERNELS_BLOCK_KERNEL_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "lib/kernels/held_vector-inl.h"
#include "lib/kernels/sparse/block_product.h"

HWY_BEFORE_NAMESPACE();
namespace espalier::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// AVX-512 and AArch64 have 32 vector registers, the others 16.
constexpr size_t kVectorRegisters = HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM_A64 ? 32 : 16;

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

// Writes a whole block row where the features of a sample lie together.
template <size_t R, class Sums>
HWY_INLINE void finish_whole(const InnerTask& t, const BlockRowPlace& place, const Sums& sums,
                             const float* x, float* y, size_t samples) {
  constexpr auto d = Sums::d;
  const float* diagonal = t.w->diagonal.empty() ? nullptr : t.w->diagonal.data() + place.output;
  HWY_UNROLL(16)
  for (size_t s = 0; s < samples; ++s) {
    HWY_UNROLL(16)
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

// Copies kCount neighbours.
template <size_t kCount>
HWY_INLINE void copy_few(const float* from, float* to) {
  const hn::CappedTag<float, kCount> d;
  if constexpr (hn::MaxLanes(d) == kCount) {
    hn::StoreU(hn::LoadU(d, from), d, to);
  } else {
    for (size_t i = 0; i < kCount; ++i) to[i] = from[i];
  }
}

// Samples kFirst .. kSamples - 1 of finish_across, four at a time.
template <size_t kSamples, size_t kFirst = 0, class Sums>
HWY_INLINE void store_across(const Sums& sums, size_t v, float* to, size_t y_output) {
  if constexpr (kFirst < kSamples) {
    constexpr size_t kCount = kSamples - kFirst < 4 ? kSamples - kFirst : 4;
    constexpr size_t kLast = kSamples - 1;                 // fills up the four
    const bool together = kSamples == 4 && y_output == 4;  // in y
    HWY_ALIGN float buffer[4 * Sums::kLanes];
    float* const across = together ? to : buffer;
    hn::StoreInterleaved4(sums.sum[0][kFirst][v], sums.sum[0][HWY_MIN(kFirst + 1, kLast)][v],
                          sums.sum[0][HWY_MIN(kFirst + 2, kLast)][v],
                          sums.sum[0][HWY_MIN(kFirst + 3, kLast)][v], Sums::d, across);
    if (together) return;
    HWY_UNROLL(16)
    for (size_t r = 0; r < Sums::kLanes; ++r)
      copy_few<kCount>(across + 4 * r, to + r * y_output + kFirst);
    store_across<kSamples, kFirst + 4>(sums, v, to, y_output);
  }
}

// Writes a whole block row where the samples of a feature lie together, without a diagonal.
template <size_t R, size_t kSamples, class Sums>
HWY_INLINE void finish_across(const InnerTask& t, const BlockRowPlace& place, Sums& sums,
                              float* y) {
  constexpr auto d = Sums::d;
  HWY_UNROLL(16)
  for (size_t v = 0; v < Sums::kVectors; ++v) {
    const size_t output = place.output + v * Sums::kLanes;
    const auto bias = t.bias == nullptr ? hn::Zero(d) : hn::LoadU(d, t.bias + output);
    HWY_UNROLL(16)
    for (size_t s = 0; s < kSamples; ++s) sums.sum[0][s][v] = hn::Add(sums.sum[0][s][v], bias);
    store_across<kSamples>(sums, v, y + output * t.y_output, t.y_output);
  }
}

// Adds what does not depend on the blocks, and writes a block row.
template <size_t R, size_t kSamples, class T, class Sums>
HWY_INLINE void finish_row(const InnerTask& t, size_t row, Sums& sums, const float* x, float* y) {
  if constexpr (sizeof(T) == 1) scale_sums(sums, kSamples, t.w->scale.data() + row * R);
  const BlockRowPlace& place = t.w->places[row];
  if (t.y_output == 1 && t.x_feature == 1 && place.valid == R) {
    finish_whole<R>(t, place, sums, x, y, kSamples);
  } else if (place.valid == R && t.w->diagonal.empty()) {
    finish_across<R, kSamples>(t, place, sums, y);
  } else {
    HWY_ALIGN float lanes[kSamples * R];
    HWY_UNROLL(16)
    for (size_t s = 0; s < kSamples; ++s) {
      HWY_UNROLL(16)
      for (size_t v = 0; v < Sums::kVectors; ++v)
        hn::Store(sums.sum[0][s][v], Sums::d, lanes + s * R + v * Sums::kLanes);
    }
    finish_rows(t, place, lanes, kSamples, x, y);
  }
}

// Block row `row` where a vector has fewer lanes than columns lie beside each other.
template <size_t R, size_t C, size_t I, size_t kSamples, class T, class Column>
HWY_INLINE void inner_row_plain(const InnerTask& t, const Column* HWY_RESTRICT columns, size_t row,
                                const float* x, float* y) {
  HWY_ALIGN float lanes[kSamples * R] = {};
  const RowTag<1> one;
  for (size_t b = t.w->row_start[row]; b < t.w->row_start[row + 1]; ++b) {
    const T* block = t.w->data_as<T>() + b * R * C;
    for (size_t i = 0; i < R * C; ++i) {
      const size_t c = i / (R * I) * I + i % I, r = i % (R * I) / I;
      const float weight = hn::GetLane(load_weights(one, block + i));
      for (size_t s = 0; s < kSamples; ++s)
        lanes[s * R + r] += weight * x[s * t.x_sample + columns[b] + c];
    }
  }
  RowSums<R, kSamples> rows;
  rows.load(lanes);
  finish_row<R, kSamples, T>(t, row, rows, x, y);
}

template <size_t R, size_t C, size_t I, size_t kSamples, bool kFeaturesTogether, class T,
          class Column>
HWY_INLINE void inner_row(const InnerTask& t, const Column* HWY_RESTRICT columns, size_t row,
                          const float* x, float* y) {
  using Sums = InnerSums<R, C, I, kSamples, kFeaturesTogether, T>;
  constexpr size_t kSteps = Sums::kSteps;
  constexpr size_t kAtOnce = Sums::kChains > kSteps ? Sums::kChains / kSteps : 1;  // blocks
  const T* HWY_RESTRICT values = t.w->data_as<T>();
  const size_t x_sample = t.x_sample, x_feature = kFeaturesTogether ? 1 : t.x_feature;
  Sums sums;
  sums.clear();
  size_t b = t.w->row_start[row];
  const size_t end = t.w->row_start[row + 1];
  for (; b + kAtOnce <= end; b += kAtOnce) {
    const T* HWY_RESTRICT block = values + b * R * C;
    sums.template add_block<0>(block, x + columns[b] * x_feature, x_sample, x_feature);
    if constexpr (kAtOnce > 1)
      sums.template add_block<kSteps>(block + R * C, x + columns[b + 1] * x_feature, x_sample,
                                      x_feature);
    if constexpr (kAtOnce > 2) {
      sums.template add_block<2 * kSteps>(block + 2 * R * C, x + columns[b + 2] * x_feature,
                                          x_sample, x_feature);
      sums.template add_block<3 * kSteps>(block + 3 * R * C, x + columns[b + 3] * x_feature,
                                          x_sample, x_feature);
    }
  }
  for (; b < end; ++b)
    sums.template add_block<0>(values + b * R * C, x + columns[b] * x_feature, x_sample, x_feature);
  sums.join();
  if constexpr (I == 1) {
    finish_row<R, kSamples, T>(t, row, sums, x, y);
  } else {
    RowSums<R, kSamples> rows;
    sum_columns<R, I, kSamples>(sums, rows);
    finish_row<R, kSamples, T>(t, row, rows, x, y);
  }
}

template <size_t R, size_t C, size_t I, size_t kSamples, bool kFeaturesTogether, class T,
          class Column>
HWY_NOINLINE void inner_rows(const InnerTask& t, const Column* HWY_RESTRICT columns, const float* x,
                             float* y) {
  for (size_t row = t.first; row < t.last; ++row) {
    if constexpr (hn::MaxLanes(RowTag<R * I>()) < I) {
      inner_row_plain<R, C, I, kSamples, T>(t, columns, row, x, y);
    } else {
      inner_row<R, C, I, kSamples, kFeaturesTogether, T>(t, columns, row, x, y);
    }
  }
}

// Samples whose sums fit into registers beside one column of a block and a broadcast value.
template <size_t R, size_t I>
constexpr size_t max_samples() {
  constexpr size_t vectors = R * I / hn::MaxLanes(RowTag<R * I>());
  constexpr size_t fitting = (kVectorRegisters - 4) / vectors;
  return fitting < 1 ? 1 : fitting < 8 ? fitting : 8;
}

template <size_t R, size_t C, size_t I, bool kFeaturesTogether, class T, class Column,
          size_t kSamples = 1>
HWY_INLINE void inner_group(const InnerTask& t, const Column* columns, const float* x, float* y,
                            size_t samples) {
  if constexpr (kSamples <= max_samples<R, I>()) {
    if (samples == kSamples) {
      inner_rows<R, C, I, kSamples, kFeaturesTogether, T>(t, columns, x, y);
    } else {
      inner_group<R, C, I, kFeaturesTogether, T, Column, kSamples + 1>(t, columns, x, y, samples);
    }
  }
}

// The samples in groups of about equal size: X of one group stays in the first cache while the
// weights pass by once.
template <size_t R, size_t C, size_t I, bool kFeaturesTogether, class T, class Column>
HWY_INLINE void inner_groups(const InnerTask& t, const Column* columns) {
  constexpr size_t kMost = max_samples<R, I>();
  const size_t groups = (t.n + kMost - 1) / kMost;
  for (size_t group = 0, first = 0; group < groups; ++group) {
    const size_t samples = (t.n - first + groups - group - 1) / (groups - group);
    inner_group<R, C, I, kFeaturesTogether, T>(t, columns, t.x + first * t.x_sample,
                                               t.y + first * t.y_sample, samples);
    first += samples;
  }
}

template <size_t R, size_t C, size_t I, class T, class Column>
HWY_INLINE void inner_columns(const InnerTask& t, const Column* columns) {
  if (I > 1 || t.x_feature == 1) {
    inner_groups<R, C, I, true, T>(t, columns);
  } else if constexpr (I == 1) {
    inner_groups<R, C, I, false, T>(t, columns);
  }
}

template <size_t R, size_t C, size_t I, class T>
HWY_INLINE void inner_values(const InnerTask& t) {
  if (t.w->wide_col.empty()) {
    inner_columns<R, C, I, T>(t, t.w->narrow_col.data());
  } else {
    inner_columns<R, C, I, T>(t, t.w->wide_col.data());
  }
}

template <size_t R, size_t C>
constexpr size_t kBeside = columns_beside({R, C});

template <size_t R, size_t C>
HWY_INLINE void block_inner(const InnerTask& t) {
  constexpr size_t I = kBeside<R, C>;
  switch (t.w->values.dtype()) {
    case DType::kF16:
      return inner_values<R, C, I, hwy::float16_t>(t);
    case DType::kBF16:
      return inner_values<R, C, I, hwy::bfloat16_t>(t);
    case DType::kI8:
      return inner_values<R, C, I, int8_t>(t);
    default:
      return inner_values<R, C, I, float>(t);
  }
}

// How many samples a tile of registers holds: the whole panel where vectors are long.
using SampleTag = hn::CappedTag<float, kPanelSamples>;
constexpr size_t kSampleLanes = hn::MaxLanes(SampleTag());
constexpr size_t kSampleVectors = kSampleLanes == kPanelSamples ? 1 : 2;
template <size_t R>
constexpr size_t kRowsAtOnce = kVectorRegisters == 32 ? (R < 16 ? R : 16) : 4;
// Whether several panels are multiplied together, and so many rows with them.
constexpr bool kTogether = kSampleLanes == kPanelSamples && kVectorRegisters == 32;
template <size_t R>
constexpr size_t kRowsTogether = HWY_MIN(R, 8);

// Sums of kRows rows of a block for a tile of samples, kVectors of them; weights of neighbouring
// rows lie I apart. kWhole: all rows and samples are valid.
template <size_t kRows, size_t I, size_t kVectors, bool kWhole>
struct OuterSums {
  static constexpr SampleTag d{};
  // Few sums need a second chain, so that an addition need not wait for the one before.
  static constexpr size_t kChains = kRows * kVectors < 8 ? 2 : 1;
  Held<SampleTag> sum[kChains][kRows][kVectors];

  HWY_INLINE void start(const float* bias, size_t valid) {
    HWY_UNROLL(16)
    for (size_t r = 0; r < kRows; ++r) {
      const bool has_bias = bias != nullptr && (kWhole || r < valid);
      const auto start = has_bias ? hn::Set(d, bias[r]) : hn::Zero(d);
      HWY_UNROLL(16)
      for (size_t v = 0; v < kVectors; ++v) {
        sum[0][r][v] = start;
        if constexpr (kChains > 1) sum[1][r][v] = hn::Zero(d);
      }
    }
  }

  HWY_INLINE void join() {
    if constexpr (kChains > 1) {
      HWY_UNROLL(16)
      for (size_t r = 0; r < kRows; ++r) {
        HWY_UNROLL(16)
        for (size_t v = 0; v < kVectors; ++v) sum[0][r][v] = hn::Add(sum[0][r][v], sum[1][r][v]);
      }
    }
  }

  // Column i of those beside each other; vector v of its input lies at x[v] + offset.
  HWY_INLINE void add(size_t i, const float* HWY_RESTRICT weights, const float* const* x,
                      size_t offset) {
    Held<SampleTag> value[kVectors];
    HWY_UNROLL(16)
    for (size_t v = 0; v < kVectors; ++v) value[v] = hn::LoadU(d, x[v] + offset);
    multiply(i, weights, value);
  }

  HWY_INLINE void multiply(size_t i, const float* HWY_RESTRICT weights,
                           const Held<SampleTag>* HWY_RESTRICT value) {
    if (kChains == 1 || i % 2 == 0) {
      multiply_chain<0>(weights + i, value);
    } else {
      multiply_chain<kChains - 1>(weights + i, value);
    }
  }

  template <size_t kChain>
  HWY_INLINE void multiply_chain(const float* HWY_RESTRICT weights,
                                 const Held<SampleTag>* HWY_RESTRICT value) {
    HWY_UNROLL(16)
    for (size_t r = 0; r < kRows; ++r) {
      const auto weight = hn::Set(d, weights[r * I]);
      HWY_UNROLL(16)
      for (size_t v = 0; v < kVectors; ++v)
        sum[kChain][r][v] = hn::MulAdd(weight, value[v], sum[kChain][r][v]);
    }
  }

  HWY_INLINE void add_diagonal(const float* diagonal, const float* const* x, size_t offset,
                               size_t x_stride, size_t valid) {
    HWY_UNROLL(16)
    for (size_t r = 0; r < kRows; ++r) {
      if (!kWhole && r >= valid) continue;
      const auto weight = hn::Set(d, diagonal[r]);
      HWY_UNROLL(16)
      for (size_t v = 0; v < kVectors; ++v) {
        const auto value = hn::LoadU(d, x[v] + offset + r * x_stride);
        sum[0][r][v] = hn::MulAdd(weight, value, sum[0][r][v]);
      }
    }
  }

  // The whole tile of each valid row.
  HWY_INLINE void store_rows(float* y, size_t y_stride, size_t valid) const {
    HWY_UNROLL(16)
    for (size_t r = 0; r < kRows; ++r) {
      if (!kWhole && r >= valid) continue;
      HWY_UNROLL(16)
      for (size_t v = 0; v < kVectors; ++v)
        hn::StoreU(sum[0][r][v], d, y + r * y_stride + v * kSampleLanes);
    }
  }

  HWY_INLINE void store(float* y, size_t y_stride, size_t valid, size_t samples) const {
    if constexpr (kWhole) return store_rows(y, y_stride, valid);
    HWY_UNROLL(16)
    for (size_t r = 0; r < kRows; ++r) {
      HWY_UNROLL(16)
      for (size_t v = 0; v < kVectors; ++v) {
        const size_t first = v * kSampleLanes;
        if (r >= valid || first >= samples) continue;
        HWY_ALIGN float lanes[kSampleLanes];
        hn::Store(sum[0][r][v], d, lanes);
        std::copy_n(lanes, std::min(kSampleLanes, samples - first), y + r * y_stride + first);
      }
    }
  }
};

// kRows rows of a block row from r on, kVectors vectors of samples from `sample` on. A function of
// its own: inlined, its loop would have to do with the registers that others leave.
template <size_t R, size_t C, size_t kRows, size_t kVectors, bool kWhole, class Column>
HWY_NOINLINE void outer_tile(const OuterTask& t, const Column* HWY_RESTRICT columns, size_t row,
                             size_t r, size_t sample, size_t x_vector) {
  const BlockRowPlace& place = t.w->places[row];
  const float* HWY_RESTRICT values = t.w->data();
  const size_t output = place.output + r, valid = place.valid - r, stride = t.panel_stride;
  const float* x[kVectors];
  HWY_UNROLL(16)
  for (size_t v = 0; v < kVectors; ++v) x[v] = t.panel + sample + v * x_vector;
  constexpr size_t I = kBeside<R, C>;
  OuterSums<kRows, I, kVectors, kWhole> sums;
  sums.start(t.bias == nullptr ? nullptr : t.bias + output, valid);
  const size_t end = t.w->row_start[row + 1];
  for (size_t b = t.w->row_start[row]; b < end; ++b) {
    const float* HWY_RESTRICT weights = values + b * R * C + r * I;
    size_t offset = columns[b] * stride;
    for (size_t c = 0; c < C; c += I) {
      HWY_UNROLL(16)
      for (size_t i = 0; i < I; ++i, offset += stride) sums.add(i, weights + c * R, x, offset);
    }
  }
  sums.join();
  if (!t.w->diagonal.empty())
    sums.add_diagonal(t.w->diagonal.data() + output, x, (place.row_in_part + r) * stride, stride,
                      valid);
  sums.store(t.y + output * t.y_stride + sample, t.y_stride, valid, t.samples - sample);
}

// All samples of a block row, a tile of registers at a time.
template <size_t R, size_t C, size_t kRows, size_t kVectors, class Column>
HWY_INLINE void outer_row(const OuterTask& t, const Column* HWY_RESTRICT columns, size_t row,
                          size_t x_vector) {
  constexpr size_t kTile = kSampleLanes * kVectors;
  const size_t valid = t.w->places[row].valid;
  for (size_t sample = 0; sample < t.samples; sample += kTile) {
    for (size_t r = 0; r < valid; r += kRows) {
      if (valid - r >= kRows && t.samples - sample >= kTile) {
        outer_tile<R, C, kRows, kVectors, true>(t, columns, row, r, sample, x_vector);
      } else {
        outer_tile<R, C, kRows, kVectors, false>(t, columns, row, r, sample, x_vector);
      }
    }
  }
}

template <size_t R, size_t C, class Column>
HWY_INLINE void outer_columns(const OuterTask& t, const Column* HWY_RESTRICT columns) {
  if (kTogether && t.samples > 2 * kPanelSamples) {
    for (size_t row = t.first; row < t.last; ++row)
      outer_row<R, C, kRowsTogether<R>, 3>(t, columns, row, t.next_panel);
    return;
  }
  if (kTogether && t.samples > kPanelSamples) {
    for (size_t row = t.first; row < t.last; ++row)
      outer_row<R, C, kRowsTogether<R>, 2>(t, columns, row, t.next_panel);
    return;
  }
  OuterTask panel = t;
  for (size_t left = t.samples; left > 0; left -= panel.samples) {
    panel.samples = std::min(kPanelSamples, left);
    for (size_t row = t.first; row < t.last; ++row)
      outer_row<R, C, kRowsAtOnce<R>, kSampleVectors>(panel, columns, row, kSampleLanes);
    panel.panel += t.next_panel;
    panel.y += kPanelSamples;
  }
}

// Loads a tile of registers of a panel that lies in kRuns runs, samples from `sample` on.
template <size_t kRuns>
struct RunLoads {
  static constexpr SampleTag d{};
  static constexpr size_t kRun = kPanelSamples / kRuns, kEach = HWY_MIN(kRun, kSampleLanes);
  static constexpr size_t kPieces = kSampleLanes / kEach;
  const float* from[kSampleVectors][kPieces];

  HWY_INLINE void start(std::span<const float* const> runs, size_t sample) {
    HWY_UNROLL(16)
    for (size_t v = 0; v < kSampleVectors; ++v) {
      HWY_UNROLL(16)
      for (size_t i = 0; i < kPieces; ++i) {
        const size_t first = sample + v * kSampleLanes + i * kEach;
        from[v][i] = runs[first / kRun] + first % kRun;
      }
    }
  }

  HWY_INLINE hn::Vec<SampleTag> load(size_t v, size_t offset) const {
#if HWY_MAX_BYTES > 16
    if constexpr (kPieces == 2) {
      const hn::Half<SampleTag> half;
      return hn::Combine(d, hn::LoadU(half, from[v][1] + offset),
                         hn::LoadU(half, from[v][0] + offset));
    }
#endif
#if HWY_MAX_BYTES > 32
    if constexpr (kPieces == 4) {
      const hn::Half<SampleTag> half;
      const hn::Half<decltype(half)> quarter;
      return hn::Combine(d,
                         hn::Combine(half, hn::LoadU(quarter, from[v][3] + offset),
                                     hn::LoadU(quarter, from[v][2] + offset)),
                         hn::Combine(half, hn::LoadU(quarter, from[v][1] + offset),
                                     hn::LoadU(quarter, from[v][0] + offset)));
    }
#endif
    return hn::LoadU(d, from[v][0] + offset);
  }
};

template <size_t R, size_t C, size_t kRuns>
HWY_INLINE void panel_runs(const PanelTask& t) {
  constexpr size_t I = kBeside<R, C>;
  constexpr size_t kRows = kRowsAtOnce<R>, kTile = kSampleLanes * kSampleVectors;
  const float* HWY_RESTRICT values = t.w->data();
  for (size_t sample = 0; sample < kPanelSamples; sample += kTile) {
    RunLoads<kRuns> loads;
    loads.start(t.runs, sample);
    for (size_t row = t.first; row < t.last; ++row) {
      const BlockRowPlace& place = t.w->places[row];
      const size_t begin = t.w->row_start[row] * C, end = t.w->row_start[row + 1] * C;
      for (size_t r = 0; r < place.valid; r += kRows) {
        OuterSums<kRows, I, kSampleVectors, false> sums;
        const size_t output = place.output + r;
        sums.start(t.bias == nullptr ? nullptr : t.bias + output, place.valid - r);
        for (size_t column = begin; column < end; column += I) {
          HWY_UNROLL(16)
          for (size_t i = 0; i < I; ++i) {
            Held<SampleTag> x[kSampleVectors];
            HWY_UNROLL(16)
            for (size_t v = 0; v < kSampleVectors; ++v) x[v] = loads.load(v, t.offsets[column + i]);
            sums.multiply(i, values + column * R + r * I, x);
          }
        }
        sums.join();
        sums.store_rows(t.y + output * t.y_stride + sample, t.y_stride, place.valid - r);
      }
    }
  }
}

template <size_t R, size_t C>
HWY_INLINE void block_panel(const PanelTask& t) {
  if (t.runs.size() == 1) return panel_runs<R, C, 1>(t);
  if (t.runs.size() == 2) return panel_runs<R, C, 2>(t);
  panel_runs<R, C, 4>(t);
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
