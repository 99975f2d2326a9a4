// Products of i8 weights with samples that are rounded to 8 bits, summed in 32 bits: picks the
// loops (inner.cpp, outer.cpp), lays out the samples for them and cuts the work among threads.
#include "lib/kernels/int8/int8_product.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "lib/base/check.h"
#include "lib/kernels/int8/dot_instructions.h"
#include "lib/kernels/int8/int8_task.h"
#include "lib/kernels/scratch.h"
#include "lib/kernels/sparse_product.h"
#include "lib/kernels/split_rows.h"
#include "lib/kernels/transpose.h"

namespace espalier {
namespace {

constexpr size_t kMostInputs = 65536;
// Samples from which they go into the lanes: features apart, blocks of one input, small blocks.
constexpr size_t kOuterApart = 9, kOuterSingle = 5;
// Outputs whose weights stay in the first cache while all samples pass.
constexpr size_t kStripOutputs = 64;

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
      int8_inner(part, dot);
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
    if (features == Features::kOuter) return int8_outer(task, dot);
    alignas(64) float strip[kStripOutputs * kTileSamples];
    const size_t output = w.places[first].output;
    const size_t outputs = w.places[last - 1].output + w.places[last - 1].valid - output;
    task.y = strip - output * kTileSamples;
    task.y_stride = kTileSamples;
    int8_outer(task, dot);
    transpose(strip, outputs, task.n, kTileSamples, y + tile * kTileSamples * w.outputs() + output,
              w.outputs());
  }
};

class Int8Product final : public Product {
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
    quantize(QuantizeRows{x, n, w.k, rows_.padded_k, samples});
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
      quantize(QuantizeTile{tiles.at(tile),
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

  const Product& widened() const {
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
  mutable std::unique_ptr<const Product> widened_;
};

}  // namespace

bool takes_int8(const SparseMatrix& weight) {
  constexpr BlockShape kShapes[] = {{16, 4}, {8, 4}, {16, 1}, {8, 1}, {4, 8}, {1, 4}};
  return weight.values.dtype() == DType::kI8 &&
         round_up(weight.fold.cols, size_t{weight.block.cols}) <= kMostInputs &&
         std::ranges::find(kShapes, weight.block) != std::end(kShapes);
}

std::unique_ptr<const Product> prepare_int8(const SparseMatrix& weight) {
  ESPALIER_CHECK(takes_int8(weight));
  return std::make_unique<Int8Product>(weight);
}

extern constinit const SparseKernel kernel_int8{
    .name = "int8", .block = {0, 0}, .prepare = prepare_int8, .takes = takes_int8, .exact = false};

}  // namespace espalier
