// The loops of the block kernels with lanes = samples, for blocks of R rows (4, 8 or 16) x C
// columns; included once per instruction set.
//
// A vector of X is loaded once and multiplied with the broadcast weights of 4 to 16 rows, whose
// sums stay in registers along the row. Where registers are many and long, up to three vectors for
// 8 rows: a load of X or of a weight then serves several multiply-adds. HWY_UNROLL: as in
// block_inner-inl.h.
#if defined(ESPALIER_LIB_KERNELS_BLOCK_OUTER_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ESPALIER_LIB_KERNELS_BLOCK_OUTER_INL_H_
#undef ESPALIER_LIB_KERNELS_BLOCK_OUTER_INL_H_
#else
#define ESPALIER_LIB_KERNELS_BLOCK_OUTER_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "lib/kernels/held_vector-inl.h"
#include "lib/kernels/sparse/block_product.h"

HWY_BEFORE_NAMESPACE();
namespace espalier::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

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
  constexpr size_t I = columns_beside({R, C});
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

// Block rows of a panel that is read where it lies, in kRuns runs: kRows rows of a block row by a
// tile of samples at a time.
template <size_t R, size_t C, size_t kRuns>
HWY_INLINE void panel_runs(const PanelTask& t) {
  constexpr size_t I = columns_beside({R, C});
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
