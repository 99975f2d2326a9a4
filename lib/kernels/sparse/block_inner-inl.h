// The loops of the block kernels with lanes = rows of the block, for blocks of R rows (4, 8 or 16)
// x C columns; included once per instruction set.
//
// A column of a block is loaded once and multiplied with one broadcast value of each of up to eight
// samples, whose sums stay in registers along the row. Blocks of fewer rows than a long vector has
// lanes take I = 16 / R columns at a time: their values lie beside each other, row by row, I values
// of x are repeated, and at the end of a row the sums of I lanes are added.
#if defined(ESPALIER_LIB_KERNELS_BLOCK_INNER_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ESPALIER_LIB_KERNELS_BLOCK_INNER_INL_H_
#undef ESPALIER_LIB_KERNELS_BLOCK_INNER_INL_H_
#else
#define ESPALIER_LIB_KERNELS_BLOCK_INNER_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "lib/kernels/sparse/block_product.h"
#include "lib/kernels/sparse/block_sums-inl.h"

HWY_BEFORE_NAMESPACE();
namespace espalier::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

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

// Adds blocks begin .. end - 1: several at a time where each has chains of its own.
template <size_t R, size_t C, class T, class Sums, class Column>
HWY_INLINE void add_blocks(Sums& sums, const T* HWY_RESTRICT values,
                           const Column* HWY_RESTRICT columns, size_t begin, size_t end,
                           const float* x, size_t x_sample, size_t x_feature) {
  constexpr size_t kSteps = Sums::kSteps;
  constexpr size_t kAtOnce = Sums::kChains > kSteps ? Sums::kChains / kSteps : 1;  // blocks
  size_t b = begin;
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
}

// Block row `row` for kSamples samples from x on; at the end the lanes of the I columns are added.
template <size_t R, size_t C, size_t I, size_t kSamples, bool kFeaturesTogether, class T,
          class Column>
HWY_INLINE void inner_row(const InnerTask& t, const Column* HWY_RESTRICT columns, size_t row,
                          const float* x, float* y) {
  using Sums = InnerSums<R, C, I, kSamples, kFeaturesTogether, T>;
  Sums sums;
  sums.clear();
  add_blocks<R, C>(sums, t.w->data_as<T>(), columns, t.w->row_start[row], t.w->row_start[row + 1],
                   x, t.x_sample, kFeaturesTogether ? 1 : t.x_feature);
  sums.join();
  if constexpr (I == 1) {
    finish_row<R, kSamples, T>(t, row, sums, x, y);
  } else {
    RowSums<R, kSamples> rows;
    sum_columns<R, I, kSamples>(sums, rows);
    finish_row<R, kSamples, T>(t, row, rows, x, y);
  }
}

// What is added to the sums of whole block rows of one part, for one sample, and where they go.
struct SpanEnds {
  const float* scale;     // of i8 values
  const float* diagonal;  // null: none
  const float* x;         // that the diagonal multiplies
  const float* bias;      // null: none
  float* y;

  template <size_t R, class T, class Sums>
  HWY_INLINE void next(Sums& sums) {
    constexpr auto d = Sums::d;
    if constexpr (sizeof(T) == 1) scale_sums(sums, 1, scale);
    HWY_UNROLL(16)
    for (size_t v = 0; v < Sums::kVectors; ++v) {
      const size_t lane = v * Sums::kLanes;
      auto sum = sums.sum[0][0][v];
      if (diagonal != nullptr)
        sum = hn::MulAdd(hn::LoadU(d, diagonal + lane), hn::LoadU(d, x + lane), sum);
      if (bias != nullptr) sum = hn::Add(sum, hn::LoadU(d, bias + lane));
      hn::StoreU(sum, d, y + lane);
    }
    if constexpr (sizeof(T) == 1) scale += R;
    if (diagonal != nullptr) diagonal += R, x += R;
    if (bias != nullptr) bias += R;
    y += R;
  }
};

// inner_row for one sample and block rows first .. last - 1, all whole and of one part. A block row
// of one sample has little work: what is asked for each is little.
template <size_t R, size_t C, size_t I, class T, class Column>
HWY_NOINLINE void single_span(const InnerTask& t, const Column* HWY_RESTRICT columns, size_t first,
                              size_t last, const float* HWY_RESTRICT x, float* HWY_RESTRICT y) {
  const BlockRows& w = *t.w;
  const BlockRowPlace& place = w.places[first];
  const auto from_here = [&place](const float* of) {
    return of == nullptr ? nullptr : of + place.output;
  };
  SpanEnds ends{sizeof(T) == 1 ? w.scale.data() + first * R : nullptr,
                from_here(w.diagonal.empty() ? nullptr : w.diagonal.data()), x + place.row_in_part,
                from_here(t.bias), y + place.output};
  const T* HWY_RESTRICT const values = w.data_as<T>();
  const uint32_t* HWY_RESTRICT start = w.row_start.data() + first;
  const uint32_t* const stop = w.row_start.data() + last;
  for (size_t b = *start; start != stop;) {
    const size_t end = *++start;
    InnerSums<R, C, I, 1, true, T> sums;
    sums.clear();
    add_blocks<R, C>(sums, values, columns, b, end, x, 0, 1);
    sums.join();
    if constexpr (I == 1) {
      ends.next<R, T>(sums);
    } else {
      RowSums<R, 1> rows;
      sum_columns<R, I, 1>(sums, rows);
      ends.next<R, T>(rows);
    }
    b = end;
  }
}

// All block rows of a task for one sample: spans of whole ones, and those at the ends of parts.
template <size_t R, size_t C, size_t I, class T, class Column>
HWY_INLINE void single_rows(const InnerTask& t, const Column* columns, const float* x, float* y) {
  const BlockRows& w = *t.w;
  for (size_t row = t.first; row < t.last;) {
    const size_t end = std::min(t.last, round_up(row + 1, w.grid_rows));
    const size_t whole = w.places[end - 1].valid == R ? end : end - 1;
    if (row < whole) single_span<R, C, I, T>(t, columns, row, whole, x, y);
    if (whole < end) inner_row<R, C, I, 1, true, T>(t, columns, whole, x, y);
    row = end;
  }
}

template <size_t R, size_t C, size_t I, size_t kSamples, bool kFeaturesTogether, class T,
          class Column>
HWY_NOINLINE void inner_rows(const InnerTask& t, const Column* HWY_RESTRICT columns, const float* x,
                             float* y) {
  if constexpr (kSamples == 1 && kFeaturesTogether && hn::MaxLanes(RowTag<R * I>()) >= I) {
    if (t.y_output == 1) return single_rows<R, C, I, T>(t, columns, x, y);
  }
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
HWY_INLINE void block_inner(const InnerTask& t) {
  constexpr size_t I = columns_beside({R, C});
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

}  // namespace espalier::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // once per instruction set
