// The loops of rows.cpp for a panel of samples: samples in the lanes.
#include "lib/kernels/sparse/rows_task.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/sparse/rows_tiles.cpp"
#include <hwy/foreach_target.h>  // compiles this file once per instruction set
#include <hwy/highway.h>
// after foreach_target.h
#include "lib/kernels/held_vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace espalier::HWY_NAMESPACE {
namespace {

// Sums of kRows outputs for kVectors vectors of samples; several chains where those are few.
template <size_t kLanes, size_t kRows, size_t kVectors>
struct Tile {
  using D = hn::CappedTag<float, kLanes>;
  static constexpr D d{};
  static constexpr size_t kChains = kRows * kVectors >= 8 ? 1 : kRows * kVectors >= 4 ? 2 : 4;
  Held<D> sum[kChains][kRows][kVectors];

  HWY_INLINE void clear_chains() {
    HWY_UNROLL(16)
    for (size_t i = 1; i < kChains; ++i) {
      HWY_UNROLL(16)
      for (size_t r = 0; r < kRows; ++r) {
        HWY_UNROLL(16)
        for (size_t v = 0; v < kVectors; ++v) sum[i][r][v] = hn::Zero(d);
      }
    }
  }

  HWY_INLINE void start(size_t r, const float* bias, const float* diagonal, const float* x) {
    const auto first = bias == nullptr ? hn::Zero(d) : hn::Set(d, *bias);
    HWY_UNROLL(16)
    for (size_t v = 0; v < kVectors; ++v) {
      sum[0][r][v] = first;
      if (diagonal != nullptr)
        sum[0][r][v] = hn::MulAdd(hn::Set(d, *diagonal), hn::LoadU(d, x + v * kLanes), first);
    }
  }

  HWY_INLINE void load(size_t r, const float* y) {
    HWY_UNROLL(16)
    for (size_t v = 0; v < kVectors; ++v) sum[0][r][v] = hn::LoadU(d, y + v * kLanes);
  }

  // One input: weights of the rows lie `stride` apart.
  template <size_t kChain>
  HWY_INLINE void add(const float* HWY_RESTRICT weights, size_t stride,
                      const float* HWY_RESTRICT x) {
    Held<D> samples[kVectors];
    if constexpr (kRows > 1) {
      HWY_UNROLL(16)
      for (size_t v = 0; v < kVectors; ++v) samples[v] = hn::LoadU(d, x + v * kLanes);
    }
    HWY_UNROLL(16)
    for (size_t r = 0; r < kRows; ++r) {
      const auto weight = hn::Set(d, weights[r * stride]);
      HWY_UNROLL(16)
      for (size_t v = 0; v < kVectors; ++v) {
        if constexpr (kRows == 1) samples[v] = hn::LoadU(d, x + v * kLanes);
        sum[kChain][r][v] = hn::MulAdd(weight, samples[v], sum[kChain][r][v]);
      }
    }
  }

  HWY_INLINE void join() {
    HWY_UNROLL(16)
    for (size_t i = 1; i < kChains; ++i) {
      HWY_UNROLL(16)
      for (size_t r = 0; r < kRows; ++r) {
        HWY_UNROLL(16)
        for (size_t v = 0; v < kVectors; ++v) sum[0][r][v] = hn::Add(sum[0][r][v], sum[i][r][v]);
      }
    }
  }

  HWY_INLINE void store(size_t r, float* y) const {
    HWY_UNROLL(16)
    for (size_t v = 0; v < kVectors; ++v) hn::StoreU(sum[0][r][v], d, y + v * kLanes);
  }
};

// Outputs r .. r + kRows - 1 of a block row, samples of the panel from `sample` on.
template <class Sums, size_t kRows, size_t kLanes, class Column>
HWY_INLINE void tile_rows(const RowsTask& t, const Column* HWY_RESTRICT columns, size_t row,
                          size_t r, size_t sample) {
  constexpr size_t kChains = Sums::kChains;
  const size_t cols = t.w->block.cols, area = t.w->block.area(), width = t.width;
  const float* HWY_RESTRICT values = t.w->data() + r * cols;
  const float* HWY_RESTRICT panel = t.panel + sample;
  const BlockRowPlace& place = t.w->places[row];
  const size_t output = place.output + r;
  float* HWY_RESTRICT y = t.y + (output - t.first_output) * t.y_stride + sample;
  Sums sums;
  sums.clear_chains();
  HWY_UNROLL(16)
  for (size_t i = 0; i < kRows; ++i) {
    if (t.starts) {
      sums.start(i, t.bias == nullptr ? nullptr : t.bias + output + i,
                 t.w->diagonal.empty() ? nullptr : t.w->diagonal.data() + output + i,
                 panel + (t.w->diagonal.empty() ? 0 : place.row_in_part + r + i) * width);
    } else {
      sums.load(i, y + i * t.y_stride);
    }
  }
  size_t b = t.begin[row];
  const size_t end = t.end[row];
  if (cols == 1) {
    for (; b + kChains <= end; b += kChains) {
      sums.template add<0>(values + b * area, 1, panel + columns[b] * width);
      if constexpr (kChains > 1)
        sums.template add<1>(values + (b + 1) * area, 1, panel + columns[b + 1] * width);
      if constexpr (kChains > 2) {
        sums.template add<2>(values + (b + 2) * area, 1, panel + columns[b + 2] * width);
        sums.template add<3>(values + (b + 3) * area, 1, panel + columns[b + 3] * width);
      }
    }
    for (; b < end; ++b) sums.template add<0>(values + b * area, 1, panel + columns[b] * width);
  } else {
    for (; b < end; ++b) {
      const float* HWY_RESTRICT weights = values + b * area;
      const float* HWY_RESTRICT x = panel + columns[b] * width;
      size_t c = 0;
      for (; c + kChains <= cols; c += kChains, x += kChains * width) {
        sums.template add<0>(weights + c, cols, x);
        if constexpr (kChains > 1) sums.template add<1>(weights + c + 1, cols, x + width);
        if constexpr (kChains > 2) {
          sums.template add<2>(weights + c + 2, cols, x + 2 * width);
          sums.template add<3>(weights + c + 3, cols, x + 3 * width);
        }
      }
      for (; c < cols; ++c, x += width) sums.template add<0>(weights + c, cols, x);
    }
  }
  sums.join();
  HWY_UNROLL(16)
  for (size_t i = 0; i < kRows; ++i) sums.store(i, y + i * t.y_stride);
}

// kSamples of the panel at a time for rows taken kRows at a time.
template <size_t kSamples, size_t kRows, class Column>
HWY_INLINE void tiles_of_rows(const RowsTask& t, const Column* HWY_RESTRICT columns, size_t row,
                              size_t r, size_t from, size_t to) {
  constexpr size_t kLanes = hn::MaxLanes(hn::CappedTag<float, HWY_MIN(kSamples, kPanelStep)>());
  using Sums = Tile<kLanes, kRows, kSamples / kLanes>;
  for (; from + kSamples <= to; from += kSamples)
    tile_rows<Sums, kRows, kLanes>(t, columns, row, r, from);
}

// Samples that a tile of one row, or of four, takes at most: as its sums fit into registers.
constexpr size_t kLongLanes = hn::MaxLanes(hn::CappedTag<float, kPanelStep>());
constexpr size_t kMostSums = kVectorRegisters / 2;
constexpr size_t kWideTile1 = HWY_MIN(kMaxPanel, kMostSums* kLongLanes);
constexpr size_t kWideTile4 = HWY_MAX(kPanelStep, HWY_MIN(kMaxPanel, kMostSums / 4 * kLongLanes));

template <size_t kRows, size_t kMost, class Column>
HWY_INLINE void panel_rows(const RowsTask& t, const Column* HWY_RESTRICT columns, size_t row,
                           size_t r) {
  if (t.width < kPanelStep) {
    tiles_of_rows<4, kRows>(t, columns, row, r, t.width / 8 * 8, t.width);
    return tiles_of_rows<8, kRows>(t, columns, row, r, 0, t.width);
  }
  const size_t whole = t.width / kMost * kMost;
  tiles_of_rows<kMost, kRows>(t, columns, row, r, 0, whole);
  size_t from = whole;
  if constexpr (kMost >= 48) {
    tiles_of_rows<48, kRows>(t, columns, row, r, from, t.width);
    from += (t.width - from) / 48 * 48;
  }
  if constexpr (kMost >= 32) {
    tiles_of_rows<32, kRows>(t, columns, row, r, from, t.width);
    from += (t.width - from) / 32 * 32;
  }
  tiles_of_rows<16, kRows>(t, columns, row, r, from, t.width);
}

template <class Column>
void tiles(const RowsTask& t, const Column* HWY_RESTRICT columns) {
  for (size_t row = t.first; row < t.last; ++row) {
    const size_t valid = t.w->places[row].valid;
    size_t r = 0;
    for (; r + 4 <= valid; r += 4) panel_rows<4, kWideTile4>(t, columns, row, r);
    for (; r < valid; ++r) panel_rows<1, kWideTile1>(t, columns, row, r);
  }
}

void run(const RowsTask& t) {
  if (t.w->wide_col.empty()) {
    tiles(t, t.w->narrow_col.data());
  } else {
    tiles(t, t.w->wide_col.data());
  }
}

}  // namespace
}  // namespace espalier::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace espalier {

HWY_EXPORT(run);

void rows_tiles(const RowsTask& task) { HWY_DYNAMIC_DISPATCH(run)(task); }

}  // namespace espalier
#endif  // HWY_ONCE
