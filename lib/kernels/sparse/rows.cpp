// Blocks of every shape, in four loops:
//   bits   few samples, 1x1 that is not rare: values stay packed, as narrow as they are stored, and
//          a bitmap says which lanes they fill (rows_bits.cpp);
//   dots   few samples, block.cols a multiple of 4: inputs of a block in the lanes, sums of a few
//          outputs and samples in registers along the block row (rows_dots.cpp);
//   tiles  more samples, or other blocks: samples in the lanes, X in panels that keep the cache,
//          cut along the inputs where a block row has too few outputs to use an X vector often
//          (rows_tiles.cpp);
//   single one sample of other blocks: one output after another, for x is read at scattered indices
//          (rows_dots.cpp).
#include <algorithm>
#include <cmath>

#include "lib/kernels/scratch.h"
#include "lib/kernels/sparse/rows_task.h"
#include "lib/kernels/sparse_product.h"
#include "lib/kernels/split_rows.h"
#include "lib/kernels/transpose.h"

namespace espalier {
namespace {

struct DotsItems {
  DotsTask task;
  size_t items;

  void run(size_t item) const {
    DotsTask part = task;
    part.first = first_row_of(*task.w, item, items);
    part.last = first_row_of(*task.w, item + 1, items);
    rows_dots(part);
  }
};

// Not every instruction set can widen infinities and NaN of f16.
bool stays_narrow(const SparseMatrix& weight) {
  return weight.values.dtype() != DType::kF16 ||
         std::ranges::all_of(to_f32(weight.values), [](float v) { return std::isfinite(v); });
}

struct BitsItems {
  BitsTask task;
  size_t items;

  void run(size_t item) const {
    BitsTask part = task;
    part.first = first_row_of(*task.w, item, items);
    part.last = first_row_of(*task.w, item + 1, items);
    rows_bits(part);
  }
};

// A panel of this many inputs and kMaxPanel samples stays in the first cache.
constexpr size_t kCutInputs = 128;
// Blocks of a block row that a cut should hold, else its beginning and end cost too much.
constexpr size_t kCutBlocks = 32;
// Samples up to which the inputs of a block go into the lanes.
constexpr size_t kMostDots = 4;
// Panels of at most kNarrowWidth samples are cut only beyond this many floats, which the second
// cache holds: a cut reads the values of a strip's rows as so many streams, and few samples do not
// pay for it.
constexpr size_t kNarrowWidth = 8, kNarrowPanel = 64 * 1024;
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
      rows_tiles(part);
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

class RowsProduct final : public Product {
 public:
  explicit RowsProduct(const SparseMatrix& weight) : w_(order_rows(weight)), cut_(inputs_of_cut()) {
    make_cuts();
    for (const size_t n : {size_t{1}, kMostBits}) {
      if (rows_use_bits(weight, n)) most_bits_ = n;
    }
    if (most_bits_ != 0) make_bits(weight);
  }

  // Few samples by rows_dots(), features together; more by rows_tiles(), in panels of up to
  // kMaxPanel samples. X is packed unless it lies as a panel does.
  void run(const float* x, Features features, size_t n, const float* bias, float* y,
           ThreadPool& pool) const override {
    if (n == 0 || w_.outputs() == 0) return;
    const bool inner = features == Features::kInner;
    const size_t y_output = inner ? 1 : n, y_sample = inner ? w_.outputs() : 1;
    if (n <= most_bits_) {
      const size_t stride = words() * kWordInputs;
      const float* rows = features_together(x, inner, n, stride);
      if (are_small(rows, n * stride)) {
        const size_t items = items_for(pool, 2 * n * work_before(w_, w_.block_rows()));
        const BitsTask task{&w_,
                            0,
                            0,
                            bits_.data(),
                            words(),
                            packed().bytes().data(),
                            packed().dtype(),
                            scale_.empty() ? nullptr : scale_.data(),
                            rows,
                            n,
                            stride,
                            bias,
                            y,
                            y_sample,
                            y_output};
        return for_each_item(pool, items, BitsItems{task, items});
      }
    }
    if (n == 1 || (w_.block.cols % 4 == 0 && n <= kMostDots)) {
      const size_t items = items_for(pool, 2 * n * work_before(w_, w_.block_rows()));
      const float* rows = features_together(x, inner, n, w_.padded_k());
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
  size_t bytes() const override {
    return w_.bytes() + cuts_.size() * sizeof(uint32_t) + bits_.size() * sizeof(uint64_t) +
           narrow_.byte_size() + scale_.size() * sizeof(float);
  }

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

  size_t words() const { return ceil_div(w_.k, kWordInputs); }

  const Tensor& packed() const { return narrow_.count() == 0 ? w_.values : narrow_; }

  void make_bits(const SparseMatrix& weight) {
    bits_.resize(w_.outputs() * words());
    for (size_t row = 0; row < w_.outputs(); ++row) {
      for (size_t b = w_.row_start[row]; b < w_.row_start[row + 1]; ++b) {
        const size_t input = w_.column(b);
        bits_[row * words() + input / kWordInputs] |= uint64_t{1} << input % kWordInputs;
      }
    }
    const Tensor& values = stays_narrow(weight) ? weight.values : w_.values;
    const size_t behind = kBehindValues / bytes_of(values.dtype());
    Tensor padded = Tensor::zeros(values.dtype(), {static_cast<int64_t>(values.count() + behind)});
    std::ranges::copy(values.bytes(), padded.mutable_bytes().begin());
    (values.dtype() == DType::kF32 ? w_.values : narrow_) = std::move(padded);
    if (values.dtype() == DType::kI8) scale_ = to_f32(weight.scale);
  }

  // A panel that stays in its cache is not cut; then the next row begins where one ends.
  Cuts cuts_for(size_t width) const {
    const size_t uncut = width <= kNarrowWidth ? kNarrowPanel : kCutInputs * kMaxPanel;
    if (w_.padded_k() * width <= uncut) return {w_.row_start.data(), 1, 1};
    return {cuts_.data(), cuts_.size() / w_.block_rows() - 1, w_.block_rows()};
  }

  static size_t width_for(size_t samples) {
    return samples <= 4 ? 4 : samples <= 8 ? 8 : round_up(samples, kPanelStep);
  }

  // X as [n, padded], zeros behind the last input.
  const float* features_together(const float* x, bool inner, size_t n, size_t padded) const {
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
  size_t most_bits_ = 0;        // samples up to which the bits are used
  std::vector<uint64_t> bits_;  // as BitsTask::bits; empty: that loop is not used
  Tensor narrow_;               // and its values; empty: they are w_.values
  std::vector<float> scale_;
  mutable Scratch scratch_;  // not called by two threads at a time
};

}  // namespace

bool rows_use_bits(const SparseMatrix& weight, size_t n) {
  return n <= kMostBits && weight.block == BlockShape{1, 1} &&
         density(weight) >= least_bits_density(n, weight.values.dtype() != DType::kF32);
}

namespace {

std::unique_ptr<const Product> prepare(const SparseMatrix& weight) {
  return std::make_unique<RowsProduct>(weight);
}

}  // namespace

extern constinit const SparseKernel kernel_rows{
    .name = "rows", .block = {0, 0}, .prepare = prepare};

}  // namespace espalier
