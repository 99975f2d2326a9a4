// The loops of rows.cpp for a few samples: inputs of a block in the lanes, or one after another.
#include "lib/kernels/sparse/rows_task.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/sparse/rows_dots.cpp"
#include <hwy/foreach_target.h>  // compiles this file once per instruction set
#include <hwy/highway.h>
// after foreach_target.h
#include "lib/kernels/held_vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace espalier::HWY_NAMESPACE {
namespace {

HWY_INLINE void finish_output(const DotsTask& t, const BlockRowPlace& place, size_t r, size_t s,
                              float sum) {
  const size_t output = place.output + r;
  if (!t.w->diagonal.empty())
    sum += t.w->diagonal[output] * t.x[s * t.x_stride + place.row_in_part + r];
  if (t.bias != nullptr) sum += t.bias[output];
  t.y[s * t.y_sample + output * t.y_output] = sum;
}

// Outputs r .. r + kRows - 1 of a block row for kSamples samples from `sample` on; kWide inputs of
// a block at a time.
template <size_t kWide, size_t kRows, size_t kSamples, class Column>
HWY_INLINE void dots(const DotsTask& t, const Column* HWY_RESTRICT columns, size_t row, size_t r,
                     size_t sample) {
  const hn::CappedTag<float, kWide> d;
  constexpr size_t kLanes = hn::MaxLanes(d), kVectors = kWide / kLanes;
  // One sum waits for its multiply-add, so that few sums need a second chain.
  constexpr size_t kChains = kRows * kSamples * kVectors >= 6 ? 1 : 2;
  Held<decltype(d)> sum[kChains][kRows][kSamples];
  HWY_UNROLL(16)
  for (size_t i = 0; i < kChains; ++i) {
    HWY_UNROLL(16)
    for (size_t j = 0; j < kRows; ++j) {
      HWY_UNROLL(16)
      for (size_t s = 0; s < kSamples; ++s) sum[i][j][s] = hn::Zero(d);
    }
  }
  const size_t cols = t.w->block.cols, area = t.w->block.area();
  const float* HWY_RESTRICT x = t.x + sample * t.x_stride;
  const float* HWY_RESTRICT values = t.w->data() + r * cols;
  const auto add = [&](auto chain, const float* HWY_RESTRICT from, const float* HWY_RESTRICT x_from)
                       HWY_ATTR {
                         constexpr size_t kChain = decltype(chain)::value;
                         HWY_UNROLL(16)
                         for (size_t v = 0; v < kVectors; ++v) {
                           Held<decltype(d)> weight[kRows];
                           HWY_UNROLL(16)
                           for (size_t j = 0; j < kRows; ++j)
                             weight[j] = hn::LoadU(d, from + j * cols + v * kLanes);
                           HWY_UNROLL(16)
                           for (size_t s = 0; s < kSamples; ++s) {
                             const auto inputs = hn::LoadU(d, x_from + s * t.x_stride + v * kLanes);
                             HWY_UNROLL(16)
                             for (size_t j = 0; j < kRows; ++j)
                               sum[kChain][j][s] = hn::MulAdd(weight[j], inputs, sum[kChain][j][s]);
                           }
                         }
                       };
  using First = std::integral_constant<size_t, 0>;
  using Last = std::integral_constant<size_t, kChains - 1>;
  size_t b = t.w->row_start[row];
  const size_t end = t.w->row_start[row + 1];
  if (cols == kWide) {
    for (; b + 2 <= end; b += 2) {
      add(First(), values + b * area, x + columns[b]);
      add(Last(), values + (b + 1) * area, x + columns[b + 1]);
    }
    if (b < end) add(First(), values + b * area, x + columns[b]);
  } else {
    for (; b < end; ++b)
      for (size_t c = 0; c < cols; c += kWide)
        add(First(), values + b * area + c, x + columns[b] + c);
  }
  const BlockRowPlace& place = t.w->places[row];
  HWY_UNROLL(16)
  for (size_t s = 0; s < kSamples; ++s) {
    HWY_UNROLL(16)
    for (size_t j = 0; j < kRows; ++j) {
      if constexpr (kChains > 1) sum[0][j][s] = hn::Add(sum[0][j][s], sum[1][j][s]);
    }
    HWY_UNROLL(16)
    for (size_t j = 0; j < kRows; ++j) {
      if (r + j >= place.valid) continue;
      const hn::Vec<decltype(d)> all = sum[0][j][s];
      finish_output(t, place, r + j, sample + s, hn::GetLane(hn::SumOfLanes(d, all)));
    }
  }
}

template <size_t kWide, size_t kSamples, class Column>
HWY_INLINE void dots_of_samples(const DotsTask& t, const Column* HWY_RESTRICT columns,
                                size_t sample) {
  for (size_t row = t.first; row < t.last; ++row) {
    const size_t rows = t.w->block.rows, valid = t.w->places[row].valid;
    size_t r = 0;
    for (; r < valid && r + 4 <= rows; r += 4) dots<kWide, 4, kSamples>(t, columns, row, r, sample);
    for (; r < valid; ++r) dots<kWide, 1, kSamples>(t, columns, row, r, sample);
  }
}

template <size_t kWide, class Column>
void dots_of_block(const DotsTask& t, const Column* columns) {
  constexpr size_t kSamples = kVectorRegisters == 32 ? 4 : 2;
  size_t sample = 0;
  for (; sample + kSamples <= t.samples; sample += kSamples)
    dots_of_samples<kWide, kSamples>(t, columns, sample);
  for (; sample < t.samples; ++sample) dots_of_samples<kWide, 1>(t, columns, sample);
}

#if HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR
// Inputs at four columns, which take two loads less than one by one.
template <class Column>
HWY_INLINE __m128 inputs_at(const float* HWY_RESTRICT x, const Column* HWY_RESTRICT columns) {
  return _mm_set_ps(x[columns[3]], x[columns[2]], x[columns[1]], x[columns[0]]);
}

// The sum over the first blocks of one input each, eight at a time; how many is in `done`.
template <class Column>
HWY_INLINE float gathered(const float* HWY_RESTRICT values, const Column* HWY_RESTRICT columns,
                          size_t blocks, const float* HWY_RESTRICT x, size_t& done) {
  const hn::Full128<float> d;
  auto even = hn::Zero(d), odd = hn::Zero(d);
  size_t b = 0;
  for (; b + 8 <= blocks; b += 8) {
    using V = hn::Vec<decltype(d)>;
    even = hn::MulAdd(hn::LoadU(d, values + b), V{inputs_at(x, columns + b)}, even);
    odd = hn::MulAdd(hn::LoadU(d, values + b + 4), V{inputs_at(x, columns + b + 4)}, odd);
  }
  done = b;
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(even, odd)));
}
#endif

// One output of one sample; four sums, so that an addition need not wait for the one before.
template <class Column>
HWY_INLINE float single(const float* HWY_RESTRICT values, const Column* HWY_RESTRICT columns,
                        size_t blocks, BlockShape block, const float* HWY_RESTRICT x) {
  float sum[4] = {};
  const size_t area = block.area();
  if (block.cols == 1) {
    size_t b = 0;
#if HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR
    if (area == 1) sum[0] = gathered(values, columns, blocks, x, b);
#endif
    for (; b + 4 <= blocks; b += 4)
      for (size_t i = 0; i < 4; ++i) sum[i] += values[(b + i) * area] * x[columns[b + i]];
    for (; b < blocks; ++b) sum[0] += values[b * area] * x[columns[b]];
  } else {
    for (size_t b = 0; b < blocks; ++b)
      for (size_t c = 0; c < block.cols; ++c)
        sum[c % 4] += values[b * area + c] * x[columns[b] + c];
  }
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

template <class Column>
void single_outputs(const DotsTask& t, const Column* HWY_RESTRICT columns) {
  const BlockShape block = t.w->block;
  for (size_t row = t.first; row < t.last; ++row) {
    const BlockRowPlace& place = t.w->places[row];
    const size_t begin = t.w->row_start[row], blocks = t.w->row_start[row + 1] - begin;
    const float* values = t.w->data() + begin * block.area();
    for (size_t s = 0; s < t.samples; ++s)
      for (size_t r = 0; r < place.valid; ++r)
        finish_output(
            t, place, r, s,
            single(values + r * block.cols, columns + begin, blocks, block, t.x + s * t.x_stride));
  }
}

template <class Column>
void dots_by_block(const DotsTask& t, const Column* columns) {
  const size_t cols = t.w->block.cols;
  if (cols % 4 != 0) return single_outputs(t, columns);
  if (cols % 16 == 0) return dots_of_block<16>(t, columns);
  if (cols % 8 == 0) return dots_of_block<8>(t, columns);
  dots_of_block<4>(t, columns);
}

void run(const DotsTask& t) {
  if (t.w->wide_col.empty()) {
    dots_by_block(t, t.w->narrow_col.data());
  } else {
    dots_by_block(t, t.w->wide_col.data());
  }
}

}  // namespace
}  // namespace espalier::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace espalier {

HWY_EXPORT(run);

void rows_dots(const DotsTask& task) { HWY_DYNAMIC_DISPATCH(run)(task); }

}  // namespace espalier
#endif  // HWY_ONCE
