// Blocks of every shape, in three loops:
//   dots   few samples, block.cols a multiple of 4: inputs of a block in the lanes, sums of a few
//          outputs and samples in registers along the block row;
//   tiles  more samples, or other blocks: samples in the lanes, X in panels that keep the cache,
//          cut along the inputs where a block row has too few outputs to use an X vector often;
//   single one sample of other blocks: one output after another, for x is read at scattered places.
#include <algorithm>

#include "lib/kernels/scratch.h"
#include "lib/kernels/sparse/rows_task.h"
#include "lib/kernels/sparse_product.h"
#include "lib/kernels/split_rows.h"
#include "lib/kernels/transpose.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/sparse/rows.cpp"
#include <hwy/foreach_target.h>  // compiles this file once per instruction set
#include <hwy/highway.h>
// after foreach_target.h
#include "lib/kernels/held_vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace espalier::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

constexpr bool kManyRegisters = HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM_A64;

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
  constexpr size_t kSamples = kManyRegisters ? 4 : 2;
  size_t sample = 0;
  for (; sample + kSamples <= t.samples; sample += kSamples)
    dots_of_samples<kWide, kSamples>(t, columns, sample);
  for (; sample < t.samples; ++sample) dots_of_samples<kWide, 1>(t, columns, sample);
}

// One output of one sample; four sums, so that an addition need not wait for the one before.
template <class Column>
HWY_INLINE float single(const float* HWY_RESTRICT values, const Column* HWY_RESTRICT columns,
                        size_t blocks, BlockShape block, const float* HWY_RESTRICT x) {
  float sum[4] = {};
  const size_t area = block.area();
  if (block.cols == 1) {
    size_t b = 0;
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

void dots_run(const DotsTask& t) {
  if (t.w->wide_col.empty()) {
    dots_by_block(t, t.w->narrow_col.data());
  } else {
    dots_by_block(t, t.w->wide_col.data());
  }
}

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
constexpr size_t kMostSums = kManyRegisters ? 16 : 8;
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

void tiles_run(const RowsTask& t) {
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
namespace {

HWY_EXPORT(dots_run);
HWY_EXPORT(tiles_run);

struct DotsItems {
  DotsTask task;
  size_t items;

  void run(size_t item) const {
    DotsTask part = task;
    part.first = first_row_of(*task.w, item, items);
    part.last = first_row_of(*task.w, item + 1, items);
    HWY_DYNAMIC_DISPATCH(dots_run)(part);
  }
};

// A panel of this many inputs and kMaxPanel samples stays in the first cache.
constexpr size_t kCutInputs = 128;
// Blocks of a block row that a cut should hold, else its beginning and end cost too much.
constexpr size_t kCutBlocks = 32;
// Samples up to which the inputs of a block go into the lanes.
constexpr size_t kMostDots = 4;
// Outputs that are finished before the next ones: a strip of them stays in the first cache.
constexpr size_t kStripOutputs = 64;

// Where the blocks of each block row begin in each cut along the inputs: those of cut c are
// first_blocks[c * step + row] .. first_blocks[(c + 1) * step + row] - 1.
struct Cuts {
  const uint32_t* first_blocks;
  size_t count, step;
};

// A panel of samples times rows of each item's own, strip after strip and cut after cut.
struct PanelItems {
  RowsTask task;  // all but rows, blocks and y
  Cuts cuts;
  size_t samples, items;
  float* y;
  size_t y_sample, y_output;
  float* strips;  // [items, strip_outputs, width]

  size_t strip_rows() const { return std::max<size_t>(1, kStripOutputs / task.w->block.rows); }
  size_t strip_size() const { return strip_rows() * task.w->block.rows * task.width; }

  void run(size_t item) const {
    const size_t last = first_row_of(*task.w, item + 1, items);
    // Whole panels whose samples lie together are summed where they belong.
    const bool direct = y_sample == 1 && samples == task.width;
    for (size_t row = first_row_of(*task.w, item, items); row < last;) {
      RowsTask part = task;
      part.first = row;
      row = part.last = std::min(row + strip_rows(), last);
      part.first_output = task.w->places[part.first].output;
      part.y = direct ? y + part.first_output * y_output : strips + item * strip_size();
      part.y_stride = direct ? y_output : task.width;
      multiply(part);
      if (!direct) move_out(part);
    }
  }

  void multiply(RowsTask& part) const {
    for (size_t cut = 0; cut < cuts.count; ++cut) {
      part.begin = cuts.first_blocks + cut * cuts.step;
      part.end = part.begin + cuts.step;
      part.starts = cut == 0;
      HWY_DYNAMIC_DISPATCH(tiles_run)(part);
    }
  }

  void move_out(const RowsTask& part) const {
    const BlockRowPlace& end = task.w->places[part.last - 1];
    const size_t outputs = end.output + end.valid - part.first_output;
    float* to = y + part.first_output * y_output;
    if (y_output == 1) return transpose(part.y, outputs, samples, task.width, to, y_sample);
    for (size_t o = 0; o < outputs; ++o)
      std::copy_n(part.y + o * task.width, samples, to + o * y_output);
  }
};

class RowsProduct final : public SparseProduct {
 public:
  explicit RowsProduct(const SparseMatrix& weight) : w_(order_rows(weight)), cut_(inputs_of_cut()) {
    make_cuts();
  }

  void run(const float* x, Features features, size_t n, const float* bias, float* y,
           ThreadPool& pool) const override {
    if (n == 0 || w_.outputs() == 0) return;
    const bool inner = features == Features::kInner;
    const size_t y_output = inner ? 1 : n, y_sample = inner ? w_.outputs() : 1;
    if (n == 1 || (w_.block.cols % 4 == 0 && n <= kMostDots)) {
      const size_t items = items_for(pool, 2 * n * work_before(w_, w_.block_rows()));
      const float* rows = features_together(x, inner, n);
      for_each_item(pool, items,
                    DotsItems{{&w_, 0, 0, rows, n, rows == x ? w_.k : w_.padded_k(), bias, y,
                               y_sample, y_output},
                              items});
      return;
    }
    for (size_t first = 0; first < n; first += kMaxPanel) {
      const size_t samples = std::min(kMaxPanel, n - first), width = width_for(samples);
      const size_t items = items_for(pool, 2 * samples * work_before(w_, w_.block_rows()));
      RowsTask task;
      task.w = &w_;
      task.width = width;
      task.bias = bias;
      PanelItems panel{task,     cuts_for(width), samples, items, y + first * y_sample,
                       y_sample, y_output,        nullptr};
      const bool as_it_lies = !inner && n == width && w_.padded_k() == w_.k && at_line(x);
      const size_t panel_size = as_it_lies ? 0 : w_.padded_k() * width;
      float* const space = scratch_.floats(panel_size + items * panel.strip_size());
      if (!as_it_lies) pack(inner ? x + first * w_.k : x + first, inner, n, samples, width, space);
      panel.task.panel = as_it_lies ? x : space;
      panel.strips = space + panel_size;
      for_each_item(pool, items, panel);
    }
  }

  std::string_view kernel() const override { return "rows"; }
  size_t bytes() const override { return w_.bytes() + cuts_.size() * sizeof(uint32_t); }

 private:
  // Blocks with few outputs use a vector of inputs so seldom that it must come from the first
  // cache; with more it may come from the second, and nothing is cut.
  size_t inputs_of_cut() const {
    const size_t all = std::max<size_t>(w_.padded_k(), 1);
    if (w_.block.rows >= 4 || w_.narrow_col.size() + w_.wide_col.size() == 0) return all;
    const double blocks = static_cast<double>(w_.narrow_col.size() + w_.wide_col.size()) /
                          static_cast<double>(w_.block_rows());  // of a block row
    const double inputs = static_cast<double>(all) * std::min(kCutBlocks / blocks, 1.0);
    return round_up(std::max(kCutInputs, static_cast<size_t>(inputs)), size_t{w_.block.cols});
  }

  void make_cuts() {
    const size_t rows = w_.block_rows(), cuts = std::max<size_t>(ceil_div(w_.padded_k(), cut_), 1);
    cuts_.resize((cuts + 1) * rows);
    for (size_t row = 0; row < rows; ++row) {
      uint32_t b = w_.row_start[row];
      for (size_t cut = 0; cut <= cuts; ++cut) {
        while (b < w_.row_start[row + 1] && (cut == cuts || w_.column(b) < cut * cut_)) ++b;
        cuts_[cut * rows + row] = b;
      }
    }
  }

  // A panel that stays in the first cache is not cut; then the next row begins where one ends.
  Cuts cuts_for(size_t width) const {
    if (w_.padded_k() * width <= kCutInputs * kMaxPanel) return {w_.row_start.data(), 1, 1};
    return {cuts_.data(), cuts_.size() / w_.block_rows() - 1, w_.block_rows()};
  }

  static size_t width_for(size_t samples) {
    return samples <= 4 ? 4 : samples <= 8 ? 8 : round_up(samples, kPanelStep);
  }

  // X as [n, padded_k], zeros behind the last input.
  const float* features_together(const float* x, bool inner, size_t n) const {
    const size_t padded = w_.padded_k();
    if (padded == w_.k && (inner || n == 1)) return x;
    float* to = scratch_.floats(n * padded);
    std::fill_n(to, n * padded, 0.0F);
    if (inner) {
      for (size_t s = 0; s < n; ++s) std::copy_n(x + s * w_.k, w_.k, to + s * padded);
    } else {
      transpose(x, w_.k, n, n, to, padded);
    }
    return to;
  }

  // [padded_k, width] with zeros where there is no sample or input.
  void pack(const float* x, bool inner, size_t n, size_t samples, size_t width,
            float* panel) const {
    if (inner) {
      if (samples < width) std::fill_n(panel, w_.k * width, 0.0F);
      transpose(x, samples, w_.k, w_.k, panel, width);
    } else {
      for (size_t f = 0; f < w_.k; ++f) {
        float* to = std::copy_n(x + f * n, samples, panel + f * width);
        std::fill(to, panel + (f + 1) * width, 0.0F);
      }
    }
    std::fill(panel + w_.k * width, panel + w_.padded_k() * width, 0.0F);
  }

  BlockRows w_;
  size_t cut_;                  // inputs of a cut
  std::vector<uint32_t> cuts_;  // as PanelItems::cuts
  mutable Scratch scratch_;     // not called by two threads at a time
};

std::unique_ptr<const SparseProduct> prepare(const SparseMatrix& weight) {
  return std::make_unique<RowsProduct>(weight);
}

}  // namespace

extern constinit const SparseKernel kernel_rows{
    .name = "rows", .block = {0, 0}, .prepare = prepare};

}  // namespace espalier
#endif  // HWY_ONCE
