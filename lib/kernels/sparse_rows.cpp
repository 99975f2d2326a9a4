// Blocks of every shape, one to four outputs at a time. One sample: a dot product per output,
// scalar because x is read at scattered places. More: samples in the lanes, so that the block shape
// does not matter; X is brought into panels of samples first.
#include <algorithm>

#include "lib/kernels/rows_task.h"
#include "lib/kernels/sparse_product.h"
#include "lib/kernels/split_rows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/sparse_rows.cpp"
#include <hwy/foreach_target.h>  // compiles this file once per instruction set
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace espalier::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

// One output of one sample; four sums, so that an addition need not wait for the one before.
template <class Column>
HWY_INLINE float dot(const float* HWY_RESTRICT values, const Column* HWY_RESTRICT columns,
                     size_t blocks, size_t block_cols, const float* HWY_RESTRICT x) {
  float sum[4] = {};
  if (block_cols == 1) {
    size_t b = 0;
    for (; b + 4 <= blocks; b += 4)
      for (size_t i = 0; i < 4; ++i) sum[i] += values[b + i] * x[columns[b + i]];
    for (; b < blocks; ++b) sum[0] += values[b] * x[columns[b]];
  } else if (block_cols % 4 == 0) {
    const hn::CappedTag<float, 4> d;
    HWY_ALIGN float lanes[4] = {};
    for (size_t lane = 0; lane < 4; lane += hn::Lanes(d)) {
      auto even = hn::Zero(d), odd = hn::Zero(d);
      for (size_t b = 0; b < blocks; ++b)
        for (size_t c = lane; c < block_cols; c += 4) {
          const auto product_x = hn::LoadU(d, x + columns[b] + c);
          even = hn::MulAdd(hn::LoadU(d, values + b * block_cols + c), product_x, even);
          std::swap(even, odd);
        }
      hn::Store(hn::Add(even, odd), d, lanes + lane);
    }
    std::copy_n(lanes, 4, sum);
  } else {
    for (size_t b = 0; b < blocks; ++b)
      for (size_t c = 0; c < block_cols; ++c)
        sum[c % 4] += values[b * block_cols + c] * x[columns[b] + c];
  }
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

template <class Column>
void dot_rows(const RowsTask& t, const Column* HWY_RESTRICT columns) {
  const size_t cols = t.w->block.cols;
  for (size_t row = t.first; row < t.last; ++row) {
    const BlockRowPlace& place = t.w->places[row];
    const size_t begin = t.w->row_start[row], blocks = t.w->row_start[row + 1] - begin;
    const float* values = t.w->data() + begin * t.w->block.area();
    for (size_t r = 0; r < place.valid; ++r) {
      const size_t output = place.output + r;
      float sum = dot(values + r * blocks * cols, columns + begin, blocks, cols, t.panel);
      if (!t.w->diagonal.empty()) sum += t.w->diagonal[output] * t.panel[place.row_in_part + r];
      if (t.bias != nullptr) sum += t.bias[output];
      t.y[output] = sum;
    }
  }
}

// kRows outputs of a block row for up to four vectors of samples, in several chains where there are
// few sums.
template <size_t kWidth, size_t kRows>
struct Tile {
  static constexpr hn::CappedTag<float, kWidth> d{};
  static constexpr size_t kLanes = hn::MaxLanes(d);
  static constexpr size_t kVectors = HWY_MIN(kWidth / kLanes, size_t{4});
  static constexpr size_t kSamples = kLanes * kVectors;
  static constexpr size_t kChains = kVectors * kRows >= 4 ? 1 : 4 / (kVectors * kRows);
  hn::Vec<hn::CappedTag<float, kWidth>> sum[kChains][kRows][kVectors];

  HWY_INLINE void clear() {
    HWY_UNROLL(16)
    for (size_t i = 0; i < kChains; ++i) {
      HWY_UNROLL(16)
      for (size_t r = 0; r < kRows; ++r) {
        HWY_UNROLL(16)
        for (size_t v = 0; v < kVectors; ++v) sum[i][r][v] = hn::Zero(d);
      }
    }
  }

  // One input: values of the rows lie `stride` apart.
  template <size_t kChain>
  HWY_INLINE void add(const float* HWY_RESTRICT values, size_t stride,
                      const float* HWY_RESTRICT x) {
    hn::Vec<hn::CappedTag<float, kWidth>> samples[kVectors];
    HWY_UNROLL(16)
    for (size_t v = 0; v < kVectors; ++v) samples[v] = hn::LoadU(d, x + v * kLanes);
    HWY_UNROLL(16)
    for (size_t r = 0; r < kRows; ++r) {
      const auto value = hn::Set(d, values[r * stride]);
      HWY_UNROLL(16)
      for (size_t v = 0; v < kVectors; ++v)
        sum[kChain][r][v] = hn::MulAdd(value, samples[v], sum[kChain][r][v]);
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
};

// Outputs from row r of a block row on, samples of the panel from `sample` on.
template <size_t kWidth, size_t kRows, class Column>
HWY_INLINE void tile_rows(const RowsTask& t, const Column* HWY_RESTRICT columns, size_t row,
                          size_t r, size_t sample) {
  using Sums = Tile<kWidth, kRows>;
  constexpr size_t kChains = Sums::kChains;
  const size_t cols = t.w->block.cols, begin = t.w->row_start[row];
  const size_t blocks = t.w->row_start[row + 1] - begin, stride = blocks * cols;
  const float* HWY_RESTRICT values = t.w->data() + begin * t.w->block.area() + r * stride;
  const float* HWY_RESTRICT panel = t.panel + sample;
  columns += begin;
  Sums sums;
  sums.clear();
  if (cols == 1) {
    size_t b = 0;
    for (; b + kChains <= blocks; b += kChains) {
      sums.template add<0>(values + b, stride, panel + columns[b] * kWidth);
      if constexpr (kChains > 1)
        sums.template add<1>(values + b + 1, stride, panel + columns[b + 1] * kWidth);
      if constexpr (kChains > 2) {
        sums.template add<2>(values + b + 2, stride, panel + columns[b + 2] * kWidth);
        sums.template add<3>(values + b + 3, stride, panel + columns[b + 3] * kWidth);
      }
    }
    for (; b < blocks; ++b) sums.template add<0>(values + b, stride, panel + columns[b] * kWidth);
  } else {
    for (size_t b = 0; b < blocks; ++b)
      for (size_t c = 0; c < cols; ++c)
        sums.template add<0>(values + b * cols + c, stride, panel + (columns[b] + c) * kWidth);
  }
  sums.join();
  const BlockRowPlace& place = t.w->places[row];
  const size_t samples = HWY_MIN(Sums::kSamples, t.samples - sample);
  for (size_t i = 0; i < kRows; ++i) {
    HWY_ALIGN float lanes[Sums::kSamples];
    for (size_t v = 0; v < Sums::kVectors; ++v)
      hn::Store(sums.sum[0][i][v], Sums::d, lanes + v * Sums::kLanes);
    const size_t output = place.output + r + i;
    const float diagonal = t.w->diagonal.empty() ? 0.0F : t.w->diagonal[output];
    const float* x = panel + (place.row_in_part + r + i) * kWidth;
    float* y = t.y + output * t.y_output + sample * t.y_sample;
    for (size_t s = 0; s < samples; ++s) {
      float sum = lanes[s];
      if (!t.w->diagonal.empty()) sum += diagonal * x[s];
      if (t.bias != nullptr) sum += t.bias[output];
      y[s * t.y_sample] = sum;
    }
  }
}

template <size_t kWidth, class Column>
void tiles(const RowsTask& t, const Column* HWY_RESTRICT columns) {
  for (size_t row = t.first; row < t.last; ++row) {
    const size_t valid = t.w->places[row].valid;
    for (size_t sample = 0; sample < t.samples; sample += Tile<kWidth, 1>::kSamples) {
      size_t r = 0;
      for (; r + 4 <= valid; r += 4) tile_rows<kWidth, 4>(t, columns, row, r, sample);
      for (; r < valid; ++r) tile_rows<kWidth, 1>(t, columns, row, r, sample);
    }
  }
}

template <class Column>
void rows_of(const RowsTask& t, const Column* columns) {
  switch (t.width) {
    case 1:
      return dot_rows(t, columns);
    case 4:
      return tiles<4>(t, columns);
    case 8:
      return tiles<8>(t, columns);
    case 16:
      return tiles<16>(t, columns);
    default:
      return tiles<64>(t, columns);
  }
}

void rows_run(const RowsTask& t) {
  if (t.w->wide_col.empty()) {
    rows_of(t, t.w->narrow_col.data());
  } else {
    rows_of(t, t.w->wide_col.data());
  }
}

}  // namespace
}  // namespace espalier::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace espalier {
namespace {

HWY_EXPORT(rows_run);

struct RowsItems {
  RowsTask task;
  size_t items;

  void run(size_t item) const {
    RowsTask part = task;
    part.first = first_row_of(*task.w, item, items);
    part.last = first_row_of(*task.w, item + 1, items);
    HWY_DYNAMIC_DISPATCH(rows_run)(part);
  }
};

class RowsProduct final : public SparseProduct {
 public:
  explicit RowsProduct(const SparseMatrix& weight) : w_(order_rows(weight)) {}

  void run(const float* x, Features features, size_t n, const float* bias, float* y,
           ThreadPool& pool) const override {
    if (n == 0 || w_.outputs() == 0) return;
    const bool inner = features == Features::kInner;
    const size_t y_output = inner ? 1 : n, y_sample = inner ? w_.outputs() : 1;
    const size_t width = width_for(n);
    for (size_t first = 0; first < n; first += width) {
      const size_t samples = std::min(width, n - first);
      const float* panel = n == 1 && w_.padded_k() == w_.k
                               ? x
                               : pack(inner ? x + first * w_.k : x + first, inner ? w_.k : 1,
                                      inner ? 1 : n, samples, width);
      const size_t items = items_for(pool, 2 * samples * work_before(w_, w_.block_rows()));
      const RowsTask task{&w_,      0,       0, panel, width, samples, bias, y + first * y_sample,
                          y_output, y_sample};
      for_each_item(pool, items, RowsItems{task, items});
    }
  }

  std::string_view kernel() const override { return "rows"; }
  size_t bytes() const override { return w_.bytes(); }

 private:
  // Samples of a panel, of which 64 are quicker than 16 while the panel stays in the second cache.
  size_t width_for(size_t n) const {
    if (n == 1) return 1;
    if (n <= 4) return 4;
    if (n <= 8) return 8;
    return n > 16 && w_.padded_k() <= 1024 ? 64 : 16;
  }

  // [padded_k, width] with zeros where there is no sample or input.
  const float* pack(const float* x, size_t x_sample, size_t x_feature, size_t samples,
                    size_t width) const {
    const size_t count = w_.padded_k() * width;
    if (panel_.size() < count) panel_.resize(count);
    float* const panel = panel_.data();
    if (x_sample == 1) {
      for (size_t f = 0; f < w_.k; ++f) {
        float* to = std::copy_n(x + f * x_feature, samples, panel + f * width);
        std::fill(to, panel + (f + 1) * width, 0.0F);
      }
    } else {
      for (size_t f = 0; f < w_.k; ++f) {
        for (size_t s = 0; s < samples; ++s) panel[f * width + s] = x[s * x_sample + f];
        std::fill(panel + f * width + samples, panel + (f + 1) * width, 0.0F);
      }
    }
    std::fill(panel + w_.k * width, panel + count, 0.0F);
    return panel;
  }

  BlockRows w_;
  mutable std::vector<float> panel_;  // not called by two threads at a time
};

std::unique_ptr<const SparseProduct> prepare(const SparseMatrix& weight) {
  return std::make_unique<RowsProduct>(weight);
}

}  // namespace

extern constinit const SparseKernel kernel_rows{
    .name = "rows", .block = {0, 0}, .prepare = prepare};

}  // namespace espalier
#endif  // HWY_ONCE
