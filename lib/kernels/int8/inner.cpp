// Products of i8 weights with rounded samples, the rows of a block in the lanes: one load of 4
// values of each row, one broadcast of 4 bytes of x. Compiled without contraction of floating-point
// expressions (CMakeLists.txt), so that every instruction set rounds alike.
#include "lib/kernels/int8/int8_task.h"

#include <algorithm>
#include <bit>

#include "lib/base/check.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/int8/inner.cpp"
#include <hwy/foreach_target.h>  // compiles this file once per instruction set
#include <hwy/highway.h>
// after highway.h
#include "lib/kernels/int8/dot4-inl.h"

HWY_BEFORE_NAMESPACE();
namespace espalier::HWY_NAMESPACE {
namespace {

// The next kCount columns, kCount <= 4, by one load: column i is (columns >> 16 * i) & 0xFFFF.
template <size_t kCount>
HWY_INLINE uint64_t next_columns(const uint16_t* col) {
  static_assert(std::endian::native == std::endian::little);
  uint64_t columns = 0;
  std::memcpy(&columns, col, kCount * sizeof(uint16_t));
  return columns;
}

// A byte of each of four inputs.
HWY_INLINE int32_t gather(const uint16_t* HWY_RESTRICT col, const uint8_t* HWY_RESTRICT x) {
  return static_cast<int32_t>(x[col[0]] | uint32_t{x[col[1]]} << 8 | uint32_t{x[col[2]]} << 16 |
                              uint32_t{x[col[3]]} << 24);
}

// Block rows first .. last - 1 of R rows each, whose outputs follow each other from y and bias on,
// for kSamples samples. A block row has few blocks: what is left to do for each is little.
template <bool kDot, size_t R, size_t C, size_t kSamples>
HWY_NOINLINE void inner_span(const Int8Rows& rows, size_t first, size_t last, Int8Samples samples,
                             const float* bias, float* HWY_RESTRICT y, size_t y_stride) {
  const hn::CappedTag<int32_t, R> d;
  const hn::RebindToFloat<decltype(d)> df;
  using V = hn::Vec<decltype(d)>;
  constexpr size_t kL = hn::MaxLanes(d), kVectors = R / kL, kSums = kSamples * kVectors;
  constexpr size_t kChains = kSums >= 5 ? 1 : kSums >= 3 ? 2 : 4;
  constexpr size_t kCols = C > 1 ? 1 : 4;
  const BlockRows& w = rows.rows;
  const size_t padded_k = rows.padded_k;
  const uint8_t* HWY_RESTRICT const x = samples.bytes;
  const uint32_t* HWY_RESTRICT start = w.row_start.data() + first;
  const uint32_t* const end = w.row_start.data() + last;
  const int8_t* HWY_RESTRICT values = w.data_as<int8_t>() + *start * R * 4;
  const uint16_t* HWY_RESTRICT col = w.narrow_col.data() + *start * kCols;
  const int32_t* HWY_RESTRICT offset = rows.offset.data() + first * R;
  const float* HWY_RESTRICT scale = w.scale.data() + first * R;
  for (; start != end; ++start, offset += R, scale += R, y += R) {
    Held<decltype(d)> sum[kChains][kSamples][kVectors];
    HWY_UNROLL(16)
    for (size_t i = 0; i < kChains; ++i) {
      HWY_UNROLL(16)
      for (size_t s = 0; s < kSamples; ++s) {
        HWY_UNROLL(16)
        for (size_t v = 0; v < kVectors; ++v)
          sum[i][s][v] = i == 0 && kUnsigned ? hn::LoadU(d, offset + v * kL) : hn::Zero(d);
      }
    }
    // The next kCount tiles, each to a chain of its own.
    const auto add_next = [&](auto count) HWY_ATTR {
      constexpr size_t kCount = decltype(count)::value;
      const uint64_t columns = next_columns<kCount>(col);
      const auto add = [&](auto i) HWY_ATTR {
        HWY_UNROLL(16)
        for (size_t s = 0; s < kSamples; ++s) {
          const uint8_t* const from = x + s * padded_k;
          const V inputs = hn::Set(d, C > 1 ? four_bytes(from + (columns >> 16 * i & 0xFFFF))
                                            : gather(col + 4 * i, from));
          HWY_UNROLL(16)
          for (size_t v = 0; v < kVectors; ++v)
            sum[i][s][v] =
                dot4_vector<kDot>(d, sum[i][s][v], inputs, values + (i * R + v * kL) * 4);
        }
      };
      add(Index<0>());
      if constexpr (kCount > 1) add(Index<1>());
      if constexpr (kCount > 2) {
        add(Index<2>());
        add(Index<3>());
      }
      values += kCount * R * 4;
      col += kCount * kCols;
    };
    size_t left = start[1] - start[0];
    for (; left >= kChains; left -= kChains) add_next(Index<kChains>());
    if constexpr (kChains > 2) {
      if ((left & 2) != 0) add_next(Index<2>());
    }
    if constexpr (kChains > 1) {
      if ((left & 1) != 0) add_next(Index<1>());
    }
    HWY_UNROLL(16)
    for (size_t s = 0; s < kSamples; ++s) {
      const auto step = hn::Set(df, samples.steps[s]);
      HWY_UNROLL(16)
      for (size_t v = 0; v < kVectors; ++v) {
        if constexpr (kChains > 2) {
          sum[0][s][v] = hn::Add(sum[0][s][v], sum[1][s][v]);
          sum[1][s][v] = hn::Add(sum[2][s][v], sum[3][s][v]);
        }
        if constexpr (kChains > 1) sum[0][s][v] = hn::Add(sum[0][s][v], sum[1][s][v]);
        auto result =
            hn::Mul(hn::Mul(hn::ConvertTo(df, sum[0][s][v]), hn::LoadU(df, scale + v * kL)), step);
        if (bias != nullptr) result = hn::Add(result, hn::LoadU(df, bias + v * kL));
        hn::StoreU(result, df, y + s * y_stride + v * kL);
      }
    }
    if (bias != nullptr) bias += R;
  }
}

// Adds the diagonal's products of block rows first .. last - 1.
void add_diagonal(const BlockRows& w, size_t first, size_t last, const float* HWY_RESTRICT x,
                  float* HWY_RESTRICT y) {
  const BlockRowPlace& end = w.places[last - 1];
  size_t input = w.places[first].row_in_part;
  for (size_t output = w.places[first].output; output < end.output + end.valid; input = 0) {
    const size_t count = std::min(w.rows - input, end.output + end.valid - output);
    const float* HWY_RESTRICT const diagonal = w.diagonal.data() + output;
    for (size_t i = 0; i < count; ++i) y[output + i] += diagonal[i] * x[input + i];
    output += count;
  }
}

// kSamples samples from `sample` on: spans of whole block rows, and the last ones of parts that end
// inside them.
template <bool kDot, size_t R, size_t C, size_t kSamples>
void inner_group(const Int8InnerTask& t, size_t sample) {
  const BlockRows& w = t.w->rows;
  const Int8Samples samples{t.samples.bytes + sample * t.w->padded_k, t.samples.steps + sample};
  float* const y = t.y + sample * w.outputs();
  const bool edges = w.rows % R != 0;
  for (size_t row = t.first; row < t.last;) {
    const size_t output = w.places[row].output, valid = w.places[row].valid;
    const float* const bias = t.bias == nullptr ? nullptr : t.bias + output;
    if (valid == R) {
      const size_t edge = round_up(row + 1, w.grid_rows) - 1;
      const size_t stop = edges ? std::min(t.last, edge) : t.last;
      inner_span<kDot, R, C, kSamples>(*t.w, row, stop, samples, bias, y + output, w.outputs());
      row = stop;
      continue;
    }
    float lanes[kSamples * R];
    inner_span<kDot, R, C, kSamples>(*t.w, row, row + 1, samples, nullptr, lanes, R);
    for (size_t s = 0; s < kSamples; ++s) {
      for (size_t r = 0; r < valid; ++r)
        y[s * w.outputs() + output + r] = lanes[s * R + r] + (bias == nullptr ? 0.0F : bias[r]);
    }
    ++row;
  }
  for (size_t s = 0; s < kSamples && !w.diagonal.empty(); ++s)
    add_diagonal(w, t.first, t.last, t.x + (sample + s) * w.k, y + s * w.outputs());
}

// Samples whose sums fit into the registers, a power of two.
template <size_t R>
constexpr size_t kMostSamples =
    HWY_MAX(1, HWY_MIN(8, kVectorRegisters / 2 * hn::MaxLanes(hn::CappedTag<int32_t, R>()) / R));

template <bool kDot, size_t R, size_t C, size_t kSamples>
HWY_INLINE void inner_rows(const Int8InnerTask& t, size_t sample, size_t samples) {
  if constexpr (kSamples > 0) {
    if (samples != kSamples) return inner_rows<kDot, R, C, kSamples / 2>(t, sample, samples);
    inner_group<kDot, R, C, kSamples>(t, sample);
  }
}

// Groups of 8, 4, 2 and 1 samples.
template <bool kDot, size_t R, size_t C>
void inner_block(const Int8InnerTask& t) {
  constexpr size_t kMost = kMostSamples<R>;
  for (size_t sample = 0; sample < t.n;) {
    size_t samples = kMost;
    while (samples > t.n - sample) samples /= 2;
    inner_rows<kDot, R, C, kMost>(t, sample, samples);
    sample += samples;
  }
}

template <bool kDot>
void inner_shapes(const Int8InnerTask& t) {
  const BlockShape block = t.w->rows.block;
  if (block == BlockShape{16, 4}) return inner_block<kDot, 16, 4>(t);
  if (block == BlockShape{8, 4}) return inner_block<kDot, 8, 4>(t);
  if (block == BlockShape{16, 1}) return inner_block<kDot, 16, 1>(t);
  ESPALIER_CHECK((block == BlockShape{8, 1}));
  inner_block<kDot, 8, 1>(t);
}

void inner(const Int8InnerTask& t, bool dot) {
  if (kMayDot && dot) return inner_shapes<kMayDot>(t);
  inner_shapes<false>(t);
}

}  // namespace
}  // namespace espalier::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace espalier {

HWY_EXPORT(inner);

void int8_inner(const Int8InnerTask& task, bool dot) { HWY_DYNAMIC_DISPATCH(inner)(task, dot); }

}  // namespace espalier
#endif  // HWY_ONCE
