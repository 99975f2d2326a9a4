// Products of i8 weights with rounded samples, samples in the lanes: one load of 4 bytes of each
// sample, one broadcast of 4 values of each row. Compiled without contraction of floating-point
// expressions (CMakeLists.txt), so that every instruction set rounds alike.
#include "lib/kernels/int8/int8_task.h"

#include <algorithm>

#include "lib/base/check.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/int8/outer.cpp"
#include <hwy/foreach_target.h>  // compiles this file once per instruction set
#include <hwy/highway.h>
// after highway.h
#include "lib/kernels/int8/dot4-inl.h"

HWY_BEFORE_NAMESPACE();
namespace espalier::HWY_NAMESPACE {
namespace {

// Vectors first .. first + kVectors - 1 of 16 samples x 4 bytes of tile b's inputs.
template <size_t C, size_t kVectors, class D>
HWY_INLINE void tile_samples(D d, const uint16_t* HWY_RESTRICT col, size_t b, size_t q,
                             const uint8_t* HWY_RESTRICT panel, size_t first, Held<D>* x) {
  constexpr size_t kL = hn::MaxLanes(d);
  if constexpr (C > 1) {
    const auto* from = reinterpret_cast<const int32_t*>(panel) + (col[b] / 4 + q) * kTileSamples;
    HWY_UNROLL(16)
    for (size_t v = 0; v < kVectors; ++v) x[v] = hn::LoadU(d, from + (first + v) * kL);
  } else {
    const uint16_t* c = col + 4 * b;
#if HWY_TARGET != HWY_SCALAR
    const hn::CappedTag<uint8_t, 16> d8;
    const hn::Repartition<uint16_t, decltype(d8)> d16;
    const hn::Repartition<int32_t, decltype(d8)> d32;
    const auto at = [&](size_t i) HWY_ATTR { return hn::LoadU(d8, panel + c[i] * kTileSamples); };
    const auto a = at(0), e = at(1), f = at(2), g = at(3);
    const auto low0 = hn::BitCast(d16, hn::InterleaveLower(d8, a, e));
    const auto low1 = hn::BitCast(d16, hn::InterleaveLower(d8, f, g));
    const auto high0 = hn::BitCast(d16, hn::InterleaveUpper(d8, a, e));
    const auto high1 = hn::BitCast(d16, hn::InterleaveUpper(d8, f, g));
    const Held<decltype(d32)> parts[4] = {hn::BitCast(d32, hn::InterleaveLower(d16, low0, low1)),
                                          hn::BitCast(d32, hn::InterleaveUpper(d16, low0, low1)),
                                          hn::BitCast(d32, hn::InterleaveLower(d16, high0, high1)),
                                          hn::BitCast(d32, hn::InterleaveUpper(d16, high0, high1))};
    HWY_UNROLL(16)
    for (size_t v = 0; v < kVectors; ++v) {
      if constexpr (kL == 4) {
        x[v] = parts[first + v];
      } else if constexpr (kL == 8) {
        x[v] = hn::Combine(d, parts[2 * (first + v) + 1], parts[2 * (first + v)]);
      } else {
        const hn::Half<D> half;
        x[v] = hn::Combine(d, hn::Combine(half, parts[3], parts[2]),
                           hn::Combine(half, parts[1], parts[0]));
      }
    }
#else
    for (size_t v = 0; v < kVectors; ++v) {
      uint32_t four = 0;
      for (size_t i = 0; i < 4; ++i)
        four |= uint32_t{panel[c[i] * kTileSamples + first + v]} << 8 * i;
      x[v] = hn::Set(d, static_cast<int32_t>(four));
    }
#endif
  }
}

// Rows r .. r + kRows - 1 of a block row for kVectors vectors of a tile of samples.
template <bool kDot, size_t R, size_t C, size_t kRows, size_t kVectors>
HWY_INLINE void outer_rows(const Int8OuterTask& t, size_t row, size_t r, size_t first) {
  const hn::CappedTag<int32_t, kTileSamples> d;
  constexpr size_t kL = hn::MaxLanes(d), kFours = C > 1 ? C / 4 : 1;
  constexpr size_t kChains = kRows * kVectors >= 8 ? 1 : kRows * kVectors >= 4 ? 2 : 4;
  const BlockRows& w = t.w->rows;
  const int8_t* HWY_RESTRICT values = w.data_as<int8_t>() + r * kFours * 4;
  const uint16_t* HWY_RESTRICT col = w.narrow_col.data();
  Held<decltype(d)> sum[kChains][kRows][kVectors];
  HWY_UNROLL(16)
  for (size_t i = 0; i < kChains; ++i) {
    HWY_UNROLL(16)
    for (size_t j = 0; j < kRows; ++j) {
      HWY_UNROLL(16)
      for (size_t v = 0; v < kVectors; ++v)
        sum[i][j][v] = i == 0 && kUnsigned ? hn::Set(d, t.w->offset[row * R + r + j]) : hn::Zero(d);
    }
  }
  const auto add = [&](auto chain, size_t b, size_t q) HWY_ATTR {
    Held<decltype(d)> x[kVectors];
    tile_samples<C, kVectors>(d, col, b, q, t.samples.bytes, first, x);
    const int8_t* HWY_RESTRICT from = values + (b * R * kFours + q) * 4;
    HWY_UNROLL(16)
    for (size_t j = 0; j < kRows; ++j) {
      HWY_UNROLL(16)
      for (size_t v = 0; v < kVectors; ++v)
        sum[chain][j][v] = dot4_single<kDot>(d, sum[chain][j][v], x[v], from + j * kFours * 4);
    }
  };
  using Zero = Index<0>;
  using One = Index<kChains == 1 ? 0 : 1>;
  size_t b = w.row_start[row];
  const size_t end = w.row_start[row + 1];
  if constexpr (kFours == 2) {
    for (; b < end; ++b) {
      add(Zero(), b, 0);
      add(One(), b, 1);
    }
  } else {
    for (; b + kChains <= end; b += kChains) {
      add(Zero(), b, 0);
      if constexpr (kChains > 1) add(One(), b + 1, 0);
      if constexpr (kChains > 2) {
        add(Index<2>(), b + 2, 0);
        add(Index<3>(), b + 3, 0);
      }
    }
    for (; b < end; ++b) add(Zero(), b, 0);
  }

  const hn::RebindToFloat<decltype(d)> df;
  const BlockRowPlace& place = w.places[row];
  HWY_UNROLL(16)
  for (size_t j = 0; j < kRows; ++j) {
    const size_t output = place.output + r + j;
    if (r + j >= place.valid) continue;
    HWY_UNROLL(16)
    for (size_t v = 0; v < kVectors; ++v) {
      HWY_UNROLL(16)
      for (size_t i = 1; i < kChains; ++i) sum[0][j][v] = hn::Add(sum[0][j][v], sum[i][j][v]);
      const size_t lane = (first + v) * kL;
      auto result =
          hn::Mul(hn::Mul(hn::ConvertTo(df, sum[0][j][v]), hn::Set(df, w.scale[row * R + r + j])),
                  hn::LoadU(df, t.samples.steps + lane));
      if (t.bias != nullptr) result = hn::Add(result, hn::Set(df, t.bias[output]));
      if (!w.diagonal.empty())
        result = hn::Add(
            result, hn::Mul(hn::Set(df, w.diagonal[output]),
                            hn::LoadU(df, t.x + (place.row_in_part + r + j) * t.x_stride + lane)));
      float* y = t.y + output * t.y_stride + lane;
      if (lane + kL <= t.n) {
        hn::StoreU(result, df, y);
      } else if (lane < t.n) {
        HWY_ALIGN float lanes[kL];
        hn::Store(result, df, lanes);
        std::copy_n(lanes, t.n - lane, y);
      }
    }
  }
}

template <bool kDot, size_t R, size_t C>
void outer_block(const Int8OuterTask& t) {
  constexpr size_t kAll = kTileSamples / hn::MaxLanes(hn::CappedTag<int32_t, kTileSamples>());
  constexpr size_t kRows = kAll == 1 ? R : HWY_MIN(R, 4);
  constexpr size_t kVectors = kVectorRegisters == 32 ? kAll : HWY_MIN(kAll, 2);
  for (size_t row = t.first; row < t.last; ++row) {
    for (size_t first = 0; first < kAll; first += kVectors) {
      for (size_t r = 0; r < t.w->rows.places[row].valid; r += kRows)
        outer_rows<kDot, R, C, kRows, kVectors>(t, row, r, first);
    }
  }
}

template <bool kDot>
void outer_shapes(const Int8OuterTask& t) {
  const BlockShape block = t.w->rows.block;
  if (block == BlockShape{16, 4}) return outer_block<kDot, 16, 4>(t);
  if (block == BlockShape{8, 4}) return outer_block<kDot, 8, 4>(t);
  if (block == BlockShape{16, 1}) return outer_block<kDot, 16, 1>(t);
  if (block == BlockShape{8, 1}) return outer_block<kDot, 8, 1>(t);
  if (block == BlockShape{4, 8}) return outer_block<kDot, 4, 8>(t);
  ESPALIER_CHECK((block == BlockShape{1, 4}));
  outer_block<kDot, 1, 4>(t);
}

void outer(const Int8OuterTask& t, bool dot) {
  if (kMayDot && dot) return outer_shapes<kMayDot>(t);
  outer_shapes<false>(t);
}

}  // namespace
}  // namespace espalier::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace espalier {

HWY_EXPORT(outer);

void int8_outer(const Int8OuterTask& task, bool dot) { HWY_DYNAMIC_DISPATCH(outer)(task, dot); }

}  // namespace espalier
#endif  // HWY_ONCE
