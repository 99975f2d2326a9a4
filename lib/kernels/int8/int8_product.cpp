// Products of i8 weights with samples that are rounded to 8 bits, summed in 32 bits.
//
// inner: lanes = rows of a block. One load of 4 values of each row, one broadcast of 4 bytes of x.
// outer: lanes = samples. One load of 4 bytes of each sample, one broadcast of 4 values of each
// row.
//
// x86 multiplies unsigned with signed bytes: x is q + 128 there, and sums begin at -128 * the sum
// of the row's values. Compiled without contraction of floating-point expressions (CMakeLists.txt),
// so that every instruction set rounds alike.
#include "lib/kernels/int8/int8_product.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "lib/base/error.h"
#include "lib/kernels/int8/int8_task.h"
#include "lib/kernels/scratch.h"
#include "lib/kernels/split_rows.h"
#include "lib/kernels/transpose.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/int8/int8_product.cpp"
#include <hwy/foreach_target.h>  // compiles this file once per instruction set
#include <hwy/highway.h>
// after highway.h
#include "lib/kernels/held_vector-inl.h"

#if HWY_ARCH_ARM_A64
#include <sys/auxv.h>
#endif

HWY_BEFORE_NAMESPACE();
namespace espalier::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

constexpr bool kManyRegisters = HWY_TARGET == HWY_AVX3 || HWY_ARCH_ARM_A64;
constexpr bool kUnsigned = HWY_ARCH_X86;  // bytes of x are q + 128
constexpr uint32_t kFlip = kUnsigned ? 0x80 : 0;

// Whether this instruction set may come with dot instructions.
constexpr bool kMayDot = HWY_TARGET == HWY_AVX3 || (HWY_ARCH_ARM_A64 && HWY_TARGET == HWY_NEON);

// sum + x[0] w[0] + .. + x[3] w[3] in each lane of 32 bits.
template <bool kDot, class D, class V = hn::Vec<D>>
HWY_INLINE V dot4(D d, hn::Vec<D> sum, hn::Vec<D> x, hn::Vec<D> w) {
#if HWY_TARGET == HWY_AVX3
  if constexpr (kDot) {  // an instruction by name: Highway's section does not switch it on
    asm("vpdpbusd %2, %1, %0" : "+v"(sum.raw) : "v"(x.raw), "v"(w.raw));
    return sum;
  }
#endif
#if HWY_HAVE_SCALABLE
  static_cast<void>(d);
  return svdot_s32(sum, svreinterpret_s8_s32(x), svreinterpret_s8_s32(w));
#elif HWY_TARGET == HWY_NEON
#if HWY_ARCH_ARM_A64
  if constexpr (kDot) {
    // GNU as 2.40 takes no ".arch_extension dotprod".
    asm(".arch armv8.2-a+crypto+dotprod\n\tsdot %0.4s, %1.16b, %2.16b"
        : "+w"(sum.raw)
        : "w"(x.raw), "w"(w.raw));
    return sum;
  }
#endif
  static_cast<void>(d);
  const int8x16_t a = vreinterpretq_s8_s32(x.raw), b = vreinterpretq_s8_s32(w.raw);
  const int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b));
  const int16x8_t high = vmull_s8(vget_high_s8(a), vget_high_s8(b));
  // Two products are at most 2 * 127 * 128.
  const int16x8_t pairs = vcombine_s16(vpadd_s16(vget_low_s16(low), vget_high_s16(low)),
                                       vpadd_s16(vget_low_s16(high), vget_high_s16(high)));
  return V(vpadalq_s16(sum.raw, pairs));
#elif HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128
  const hn::Repartition<int16_t, D> d16;
  const hn::Repartition<uint16_t, D> u16;
  const auto w16 = hn::BitCast(d16, w);
  auto none = hn::Zero(d);
  sum = hn::ReorderWidenMulAccumulate(d, hn::And(hn::BitCast(d16, x), hn::Set(d16, 0xFF)),
                                      hn::ShiftRight<8>(hn::ShiftLeft<8>(w16)), sum, none);
  return hn::ReorderWidenMulAccumulate(d, hn::BitCast(d16, hn::ShiftRight<8>(hn::BitCast(u16, x))),
                                       hn::ShiftRight<8>(w16), sum, none);
#else
  int32_t sums[hn::MaxLanes(d)], xs[hn::MaxLanes(d)], ws[hn::MaxLanes(d)];
  hn::StoreU(sum, d, sums);
  hn::StoreU(x, d, xs);
  hn::StoreU(w, d, ws);
  for (size_t i = 0; i < hn::MaxLanes(d); ++i) {
    for (int shift = 0; shift < 32; shift += 8) {
      const int32_t byte = (xs[i] >> shift) & 0xFF;
      sums[i] += (kUnsigned ? byte : static_cast<int8_t>(byte)) *
                 static_cast<int8_t>((ws[i] >> shift) & 0xFF);
    }
  }
  return hn::LoadU(d, sums);
#endif
}

HWY_INLINE int32_t four_bytes(const void* from) {
  int32_t value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

// dot4() with the vector of values at w, and with the four values at w in each lane.
template <bool kDot, class D, class V = hn::Vec<D>>
HWY_INLINE V dot4_vector(D d, hn::Vec<D> sum, hn::Vec<D> x, const int8_t* w) {
#if HWY_TARGET == HWY_AVX3
  if constexpr (kDot) {
    asm("vpdpbusd %2, %1, %0"
        : "+v"(sum.raw)
        : "v"(x.raw), "m"(*reinterpret_cast<const decltype(sum.raw)*>(w)));
    return sum;
  }
#endif
  return dot4<kDot>(d, sum, x, hn::LoadU(d, reinterpret_cast<const int32_t*>(w)));
}

template <bool kDot, class D, class V = hn::Vec<D>>
HWY_INLINE V dot4_single(D d, hn::Vec<D> sum, hn::Vec<D> x, const int8_t* w) {
#if HWY_TARGET == HWY_AVX3
  if constexpr (kDot && hn::MaxLanes(d) == 16) {
    asm("vpdpbusd %2%{1to16%}, %1, %0"
        : "+v"(sum.raw)
        : "v"(x.raw), "m"(*reinterpret_cast<const int8_t(*)[4]>(w)));
    return sum;
  }
#endif
  return dot4<kDot>(d, sum, x, hn::Set(d, four_bytes(w)));
}

// Vectors of 16 floats at most: what is rounded at a time.
using DF = hn::CappedTag<float, kTileSamples>;
using DI = hn::RebindToSigned<DF>;
using DU = hn::RebindToUnsigned<DF>;
constexpr size_t kLanes = hn::MaxLanes(DF());

struct Step {
  float step, inverse;
};

// By the bits of the largest magnitude, which are ordered like the magnitudes.
Step step_of(int32_t bits) {
  if (bits == 0) return {0.0F, 0.0F};
  const float most = std::bit_cast<float>(bits);
  if (bits >= 0x7F800000 || most < 0x1p-100F)
    return {std::numeric_limits<float>::quiet_NaN(), 0.0F};
  return {most / 127.0F, 127.0F / most};
}

// x / step rounded to the nearest integer, ties to even, in the lowest byte: a number that large
// has no fraction left.
constexpr float kRound = 12582912.0F + kFlip;  // 1.5 * 2^23

HWY_INLINE hn::Vec<DU> rounded(hn::Vec<DF> x, hn::Vec<DF> inverse) {
  const DF df;
  return hn::BitCast(DU(), hn::Add(hn::Mul(x, inverse), hn::Set(df, kRound)));
}

HWY_INLINE hn::Vec<DI> magnitude_bits(hn::Vec<DF> x) { return hn::BitCast(DI(), hn::Abs(x)); }

void quantize_rows(const QuantizeRows& t) {
  const DF df;
  const DI di;
  const hn::Rebind<uint8_t, DF> d8;
  for (size_t s = 0; s < t.n; ++s) {
    const float* HWY_RESTRICT x = t.x + s * t.k;
    uint8_t* HWY_RESTRICT to = t.to.bytes + s * t.padded_k;
    auto most = hn::Zero(di);
    size_t f = 0;
    for (; f + kLanes <= t.k; f += kLanes)
      most = hn::Max(most, magnitude_bits(hn::LoadU(df, x + f)));
    int32_t bits = hn::GetLane(hn::MaxOfLanes(di, most));
    for (; f < t.k; ++f) bits = std::max(bits, std::bit_cast<int32_t>(x[f]) & 0x7FFFFFFF);
    const Step step = step_of(bits);
    t.to.steps[s] = step.step;
    const auto inverse = hn::Set(df, step.inverse);
    for (f = 0; f + kLanes <= t.k; f += kLanes)
      hn::StoreU(hn::TruncateTo(d8, rounded(hn::LoadU(df, x + f), inverse)), d8, to + f);
    for (; f < t.k; ++f)
      to[f] = static_cast<uint8_t>(std::bit_cast<uint32_t>(x[f] * step.inverse + kRound));
    std::fill(to + t.k, to + t.padded_k, static_cast<uint8_t>(kFlip));
  }
}

void quantize_tile(const QuantizeTile& t) {
  const DF df;
  const DI di;
  const DU du;
  const hn::Rebind<uint8_t, DF> d8;
  for (size_t s = 0; s < kTileSamples; s += kLanes) {
    auto most = hn::Zero(di);
    for (size_t f = 0; f < t.k; ++f)
      most = hn::Max(most, magnitude_bits(hn::LoadU(df, t.x + f * t.stride + s)));
    HWY_ALIGN int32_t bits[kLanes];
    HWY_ALIGN float inverses[kLanes];
    hn::Store(most, di, bits);
    for (size_t i = 0; i < kLanes; ++i) {
      const Step step = step_of(bits[i]);
      t.to.steps[s + i] = step.step;
      inverses[i] = step.inverse;
    }
    const auto inverse = hn::Load(df, inverses);
    const float* HWY_RESTRICT x = t.x + s;
    if (!t.by_fours) {
      for (size_t f = 0; f < t.k; ++f)
        hn::StoreU(hn::TruncateTo(d8, rounded(hn::LoadU(df, x + f * t.stride), inverse)), d8,
                   t.to.bytes + f * kTileSamples + s);
      continue;
    }
    const auto byte = hn::Set(du, 0xFF);
    auto* HWY_RESTRICT to = reinterpret_cast<uint32_t*>(t.to.bytes) + s;
    size_t f = 0;
    for (; f + 4 <= t.k; f += 4, to += kTileSamples) {
      const auto at = [&](size_t i) HWY_ATTR {
        return rounded(hn::LoadU(df, x + (f + i) * t.stride), inverse);
      };
      const auto low = hn::Or(hn::And(at(0), byte), hn::ShiftLeft<8>(hn::And(at(1), byte)));
      const auto high = hn::Or(hn::ShiftLeft<16>(hn::And(at(2), byte)), hn::ShiftLeft<24>(at(3)));
      hn::StoreU(hn::Or(low, high), du, to);
    }
    for (; f < t.padded_k; f += 4, to += kTileSamples) {
      auto fours = hn::Set(du, kFlip * 0x01010101U);
      for (size_t i = 0; f + i < t.k; ++i) {
        const auto one = hn::And(
            hn::Xor(rounded(hn::LoadU(df, x + (f + i) * t.stride), inverse), hn::Set(du, kFlip)),
            byte);
        fours = hn::Xor(fours, hn::ShiftLeftSame(one, static_cast<int>(8 * i)));
      }
      hn::StoreU(fours, du, to);
    }
  }
}

template <size_t kValue>
using Index = std::integral_constant<size_t, kValue>;

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
constexpr size_t kMostSamples = HWY_MAX(
    1, HWY_MIN(8, (kManyRegisters ? 16 : 8) * hn::MaxLanes(hn::CappedTag<int32_t, R>()) / R));

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
  using Zero = std::integral_constant<size_t, 0>;
  using One = std::integral_constant<size_t, kChains == 1 ? 0 : 1>;
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
        add(std::integral_constant<size_t, 2>(), b + 2, 0);
        add(std::integral_constant<size_t, 3>(), b + 3, 0);
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
  constexpr size_t kVectors = kManyRegisters ? kAll : HWY_MIN(kAll, 2);
  for (size_t row = t.first; row < t.last; ++row) {
    for (size_t first = 0; first < kAll; first += kVectors) {
      for (size_t r = 0; r < t.w->rows.places[row].valid; r += kRows)
        outer_rows<kDot, R, C, kRows, kVectors>(t, row, r, first);
    }
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

void int8_inner(const Int8InnerTask& t, bool dot) {
  if (kMayDot && dot) return inner_shapes<kMayDot>(t);
  inner_shapes<false>(t);
}

void int8_outer(const Int8OuterTask& t, bool dot) {
  if (kMayDot && dot) return outer_shapes<kMayDot>(t);
  outer_shapes<false>(t);
}

bool may_dot() { return kMayDot; }

// Twelve chains of dot products; how many operations were done.
template <bool kDot>
size_t int8_rounds(size_t rounds, int32_t* result) {
  const hn::CappedTag<int32_t, kTileSamples> d;
  constexpr size_t kChains = 12;
  Held<decltype(d)> sum[kChains];
  const auto x = hn::Set(d, result[0]), w = hn::Set(d, result[1]);
  HWY_UNROLL(16)
  for (size_t i = 0; i < kChains; ++i) sum[i] = hn::Set(d, static_cast<int32_t>(i));
  for (size_t round = 0; round < rounds; ++round) {
    HWY_UNROLL(16)
    for (size_t i = 0; i < kChains; ++i) sum[i] = dot4<kDot>(d, sum[i], x, w);
  }
  hn::Vec<decltype(d)> all = sum[0];
  HWY_UNROLL(16)
  for (size_t i = 1; i < kChains; ++i) all = hn::Add(all, sum[i]);
  result[2] = hn::GetLane(all);
  return rounds * kChains * hn::MaxLanes(d) * 8;
}

size_t int8_operations(size_t rounds, int32_t* result, bool dot) {
  if (kMayDot && dot) return int8_rounds<kMayDot>(rounds, result);
  return int8_rounds<false>(rounds, result);
}

}  // namespace
}  // namespace espalier::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace espalier {
namespace {

HWY_EXPORT(quantize_rows);
HWY_EXPORT(quantize_tile);
HWY_EXPORT(int8_inner);
HWY_EXPORT(int8_outer);
HWY_EXPORT(may_dot);
HWY_EXPORT(int8_operations);

constexpr size_t kMostInputs = 65536;
// Samples from which they go into the lanes: features apart, blocks of one input, small blocks.
constexpr size_t kOuterApart = 9, kOuterSingle = 5;
// Outputs whose weights stay in the first cache while all samples pass.
constexpr size_t kStripOutputs = 64;

bool processor_dots() {
#if HWY_ARCH_X86
  return __builtin_cpu_supports("avx512vnni") != 0;
#elif HWY_ARCH_ARM_A64
  return (getauxval(AT_HWCAP) & (1UL << 20)) != 0;  // ASIMDDP
#else
  return false;
#endif
}

bool& dots_wanted() {
  static bool wanted = true;
  return wanted;
}

// The four bytes of every row of a tile lie together.
Int8Rows order_int8(const SparseMatrix& weight) {
  Int8Rows result;
  BlockRows& w = result.rows;
  w = order_blocks(weight, false);
  result.padded_k = w.padded_k();
  const BlockShape block = w.block;
  const size_t area = block.area(), tile = block.cols == 1 ? 4 : 1;  // blocks of a tile
  const std::vector<uint32_t> row_start = std::exchange(w.row_start, {0});
  const std::vector<uint16_t> col = std::exchange(w.narrow_col, {});
  const Tensor values = w.values;
  for (size_t row = 0; row < w.block_rows(); ++row)
    w.row_start.push_back(w.row_start.back() + static_cast<uint32_t>(ceil_div(
                                                   row_start[row + 1] - row_start[row], tile)));
  const size_t tiles = w.row_start.back();
  w.values = Tensor::zeros(DType::kI8, {static_cast<int64_t>(tiles * tile * area)});
  w.narrow_col.reserve(tiles * tile);
  result.offset.assign(w.block_rows() * block.rows, 0);
  const auto* from = reinterpret_cast<const int8_t*>(values.bytes().data());
  auto* to = reinterpret_cast<int8_t*>(w.values.mutable_bytes().data());
  const size_t inputs = tile * block.cols;  // of a tile
  for (size_t row = 0; row < w.block_rows(); ++row) {
    for (size_t b = row_start[row]; b < row_start[row + 1]; ++b) {
      const size_t place = b - row_start[row];
      int8_t* into = to + (w.row_start[row] + place / tile) * inputs * block.rows + place % tile;
      w.narrow_col.push_back(col[b]);
      for (size_t c = 0; c < block.cols; ++c)
        for (size_t r = 0; r < block.rows; ++r) {
          const int8_t value = from[b * area + c * block.rows + r];
          into[r * inputs + c] = value;
          result.offset[row * block.rows + r] -= 128 * value;
        }
    }
    while (w.narrow_col.size() < w.row_start[row + 1] * tile) w.narrow_col.push_back(0);
  }
  return result;
}

// One pass over samples rounded to bytes, features together.
struct InnerItems {
  Int8InnerTask task;
  size_t items;
  bool dot;

  void run(size_t item) const {
    const BlockRows& w = task.w->rows;
    const size_t last = first_row_of(w, item + 1, items);
    const size_t first = first_row_of(w, item, items);
    const size_t step = task.n == 1 ? last - first : kStripOutputs / w.block.rows;
    Int8InnerTask part = task;
    for (size_t row = first; row < last; row += step) {
      part.first = row;
      part.last = std::min(row + step, last);
      HWY_DYNAMIC_DISPATCH(int8_inner)(part, dot);
    }
  }
};

// X in tiles of 16 samples: feature f of sample s is at(tile)[f * stride + s].
struct Tiles {
  const float* x;       // [k, n] where whole tiles lie in place, else null
  const float* copied;  // [tiles, k, 16]: those that do not
  size_t k, n;

  size_t count() const { return ceil_div(n, kTileSamples); }
  bool in_place(size_t tile) const { return x != nullptr && (tile + 1) * kTileSamples <= n; }
  const float* at(size_t tile) const {
    return in_place(tile) ? x + tile * kTileSamples : copied + tile * k * kTileSamples;
  }
  size_t stride(size_t tile) const { return in_place(tile) ? n : kTileSamples; }
  size_t samples(size_t tile) const { return std::min(kTileSamples, n - tile * kTileSamples); }
};

struct OuterItems {
  const Int8Rows* rows;
  Tiles tiles;
  Int8Samples samples;  // tile after tile
  size_t tile_bytes;
  Features features;
  const float* bias;
  float* y;
  size_t items;
  bool dot;

  void run(size_t item) const {
    const BlockRows& w = rows->rows;
    const size_t last = first_row_of(w, item + 1, items);
    const size_t step = std::max<size_t>(kStripOutputs / w.block.rows, 1);
    for (size_t row = first_row_of(w, item, items); row < last; row += step)
      for (size_t tile = 0; tile < tiles.count(); ++tile)
        strip(row, std::min(row + step, last), tile);
  }

  void strip(size_t first, size_t last, size_t tile) const {
    const BlockRows& w = rows->rows;
    Int8OuterTask task{rows,
                       first,
                       last,
                       tiles.samples(tile),
                       {samples.bytes + tile * tile_bytes, samples.steps + tile * kTileSamples},
                       tiles.at(tile),
                       tiles.stride(tile),
                       bias,
                       y + tile * kTileSamples,
                       tiles.n};
    if (features == Features::kOuter) return HWY_DYNAMIC_DISPATCH(int8_outer)(task, dot);
    alignas(64) float strip[kStripOutputs * kTileSamples];
    const size_t output = w.places[first].output;
    const size_t outputs = w.places[last - 1].output + w.places[last - 1].valid - output;
    task.y = strip - output * kTileSamples;
    task.y_stride = kTileSamples;
    HWY_DYNAMIC_DISPATCH(int8_outer)(task, dot);
    transpose(strip, outputs, task.n, kTileSamples, y + tile * kTileSamples * w.outputs() + output,
              w.outputs());
  }
};

class Int8Product final : public SparseProduct {
 public:
  explicit Int8Product(const SparseMatrix& weight) : weight_(weight), rows_(order_int8(weight)) {}

  void run(const float* x, Features features, size_t n, const float* bias, float* y,
           ThreadPool& pool) const override {
    const BlockRows& w = rows_.rows;
    if (n == 0 || w.outputs() == 0) return;
    const BlockShape block = w.block;
    const bool small = block.rows < 8;
    if (small && n < kOuterApart) return widened().run(x, features, n, bias, y, pool);
    if (small || (features == Features::kOuter && n >= kOuterApart) ||
        (block.cols == 1 && n >= kOuterSingle)) {
      run_outer(x, features, n, bias, y, pool);
    } else if (features == Features::kInner || n == 1) {
      run_inner(x, n, bias, y, pool, floats_.floats(n));
    } else {
      run_turned(x, n, bias, y, pool);
    }
    repair(x, features, n, bias, y, pool);
  }

  std::string_view kernel() const override { return "int8"; }
  size_t bytes() const override {
    return rows_.rows.bytes() + rows_.offset.size() * sizeof(int32_t) +
           (widened_ == nullptr ? 0 : widened_->bytes());
  }

 private:
  size_t items(size_t n, const ThreadPool& pool) const {
    const size_t inputs = rows_.rows.block.cols == 1 ? 4 : 1;  // blocks of a tile
    return items_for(pool, work_before(rows_.rows, rows_.rows.block_rows()) * inputs * n / 2);
  }

  void run_inner(const float* x, size_t n, const float* bias, float* y, ThreadPool& pool,
                 float* steps) const {
    const BlockRows& w = rows_.rows;
    const Int8Samples samples{bytes(n * rows_.padded_k), steps};
    steps_ = steps;
    HWY_DYNAMIC_DISPATCH(quantize_rows)(QuantizeRows{x, n, w.k, rows_.padded_k, samples});
    const size_t shares = items(n, pool);
    for_each_item(pool, shares,
                  InnerItems{{&rows_, 0, 0, n, samples, x, bias, y}, shares, dot_instructions()});
  }

  // X and Y turned round before and after.
  void run_turned(const float* x, size_t n, const float* bias, float* y, ThreadPool& pool) const {
    const BlockRows& w = rows_.rows;
    float* const steps = floats_.floats(n * (w.k + w.outputs() + 1));
    float* const turned = steps + n;
    float* const results = turned + n * w.k;
    transpose(x, w.k, n, n, turned, w.k);
    run_inner(turned, n, bias, results, pool, steps);
    transpose(results, n, w.outputs(), w.outputs(), y, n);
  }

  void run_outer(const float* x, Features features, size_t n, const float* bias, float* y,
                 ThreadPool& pool) const {
    const BlockRows& w = rows_.rows;
    const size_t count = ceil_div(n, kTileSamples), tile_bytes = rows_.padded_k * kTileSamples;
    const bool apart = features == Features::kOuter;
    float* const steps = floats_.floats(count * kTileSamples * (w.k + 1));
    float* const copied = steps + count * kTileSamples;
    const Tiles tiles{apart ? x : nullptr, copied, w.k, n};
    const Int8Samples samples{bytes(count * tile_bytes), steps};
    for (size_t tile = 0; tile < count; ++tile) {
      if (!tiles.in_place(tile)) copy_tile(x, apart, n, tile, copied);
      HWY_DYNAMIC_DISPATCH(quantize_tile)
      (QuantizeTile{tiles.at(tile),
                    tiles.stride(tile),
                    w.k,
                    rows_.padded_k,
                    w.block.cols > 1,
                    {samples.bytes + tile * tile_bytes, steps + tile * kTileSamples}});
    }
    steps_ = steps;
    const size_t shares = items(n, pool);
    for_each_item(pool, shares,
                  OuterItems{&rows_, tiles, samples, tile_bytes, features, bias, y, shares,
                             dot_instructions()});
  }

  // A tile as [k, 16], zeros where there is no sample.
  void copy_tile(const float* x, bool apart, size_t n, size_t tile, float* copied) const {
    const size_t k = rows_.rows.k, first = tile * kTileSamples;
    const size_t count = std::min(kTileSamples, n - first);
    float* const to = copied + tile * k * kTileSamples;
    if (count < kTileSamples) std::fill_n(to, k * kTileSamples, 0.0F);
    if (!apart) return transpose(x + first * k, count, k, k, to, kTileSamples);
    for (size_t f = 0; f < k; ++f) std::copy_n(x + f * n + first, count, to + f * kTileSamples);
  }

  // Samples that could not be rounded, one by one, in f32.
  void repair(const float* x, Features features, size_t n, const float* bias, float* y,
              ThreadPool& pool) const {
    const size_t k = rows_.rows.k, m = rows_.rows.outputs();
    for (size_t s = 0; s < n; ++s) {
      if (!std::isnan(steps_[s])) continue;
      if (features == Features::kInner) {
        widened().run(x + s * k, features, 1, bias, y + s * m, pool);
        continue;
      }
      std::vector<float> in(k), out(m);
      for (size_t f = 0; f < k; ++f) in[f] = x[f * n + s];
      widened().run(in.data(), features, 1, bias, out.data(), pool);
      for (size_t o = 0; o < m; ++o) y[o * n + s] = out[o];
    }
  }

  const SparseProduct& widened() const {
    if (widened_ == nullptr) widened_ = prepare_sparse(weight_, false, /*exact=*/true);
    return *widened_;
  }

  uint8_t* bytes(size_t count) const {
    return reinterpret_cast<uint8_t*>(bytes_.floats(ceil_div(count, sizeof(float))));
  }

  SparseMatrix weight_;  // shares its values with the model
  Int8Rows rows_;
  mutable Scratch floats_, bytes_;  // not called by two threads at a time
  mutable const float* steps_ = nullptr;
  mutable std::unique_ptr<const SparseProduct> widened_;
};

}  // namespace

bool takes_int8(const SparseMatrix& weight) {
  constexpr BlockShape kShapes[] = {{16, 4}, {8, 4}, {16, 1}, {8, 1}, {4, 8}, {1, 4}};
  return weight.values.dtype() == DType::kI8 &&
         round_up(weight.fold.cols, size_t{weight.block.cols}) <= kMostInputs &&
         std::ranges::find(kShapes, weight.block) != std::end(kShapes);
}

std::unique_ptr<const SparseProduct> prepare_int8(const SparseMatrix& weight) {
  ESPALIER_CHECK(takes_int8(weight));
  return std::make_unique<Int8Product>(weight);
}

void set_dot_instructions(bool use) { dots_wanted() = use; }

bool dot_instructions() {
  static const bool available = processor_dots();
  return dots_wanted() && available && HWY_DYNAMIC_DISPATCH(may_dot)();
}

double peak_int8_gops() {
  using Clock = std::chrono::steady_clock;
  double best = 0;
  for (int call = 0; call < 40; ++call) {
    int32_t data[3] = {0x01020304, 0x04030201, 0};
    const Clock::time_point start = Clock::now();
    const size_t done = HWY_DYNAMIC_DISPATCH(int8_operations)(20000, data, dot_instructions());
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::max(best, 1e-9 * static_cast<double>(done) / seconds);
  }
  return best;
}

}  // namespace espalier
#endif  // HWY_ONCE
