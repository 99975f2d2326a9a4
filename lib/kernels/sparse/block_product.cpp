#include "lib/kernels/sparse/block_product.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "lib/kernels/scratch.h"
#include "lib/kernels/split_rows.h"
#include "lib/kernels/transpose.h"

namespace espalier {
namespace {

// From this many samples on, samples go into the lanes where X comes as [k, n].
constexpr size_t kSamplesForOuter = 9;
// The same where X comes as [n, k] and blocks have fewer rows than a long vector has lanes, so that
// turning X and Y round pays.
constexpr size_t kSamplesForTurning = 16;
// Up to so many samples [k, n] their vectors are taken where they lie; more go into panels, so that
// those of one input do not drive each other out of the cache.
constexpr size_t kMostInPlace = 128;
// Outputs that are computed before they are turned round: they stay in the first cache.
constexpr size_t kStripOutputs = 64;
// Groups of panels that are multiplied with a strip of weights before the next: what they write
// lies together, and weights that exceed the caches are read less often.
constexpr size_t kGroupsAtOnce = 2;
constexpr size_t kKeptBytes = size_t{512} << 10;  // of weights that stay in the second cache

// X and Y as they come, for samples in the lanes.
struct Samples {
  const float* x;
  float* y;
  size_t n;
  Features features;
};

// An odd number of lines, so that the same feature of panels that are read together does not drive
// itself out of the first cache.
size_t panel_floats(const BlockRows& w) { return (w.padded_k() | 1) * kPanelSamples; }

// Samples first .. first + kPanelSamples - 1 of X as [padded_k, kPanelSamples], zeros where there
// is no sample or feature.
void pack_panel(const BlockRows& w, const Samples& of, size_t first, float* panel) {
  const size_t samples = std::min(kPanelSamples, of.n - first);
  const size_t packed = w.k * kPanelSamples;
  if (samples < kPanelSamples) std::fill_n(panel, packed, 0.0F);
  if (of.features == Features::kOuter && samples == kPanelSamples) {
    for (size_t f = 0; f < w.k; ++f)
      std::memcpy(panel + f * kPanelSamples, of.x + f * of.n + first,
                  kPanelSamples * sizeof(float));
  } else if (of.features == Features::kInner) {
    transpose(of.x + first * w.k, samples, w.k, w.k, panel, kPanelSamples);
  } else {
    for (size_t f = 0; f < w.k; ++f)
      std::memcpy(panel + f * kPanelSamples, of.x + f * of.n + first, samples * sizeof(float));
  }
  std::fill(panel + packed, panel + w.padded_k() * kPanelSamples, 0.0F);
}

struct InnerItems {
  const BlockKernel* kernel;
  InnerTask task;
  size_t items;

  void run(size_t item) const {
    InnerTask part = task;
    part.first = first_row_of(*task.w, item, items);
    part.last = first_row_of(*task.w, item + 1, items);
    kernel->inner(part);
  }
};

// Block rows begin .. end - 1 times panels.
struct Outer {
  const BlockKernel* kernel;
  const BlockRows* w;
  Samples samples;
  const float* bias;

  // Panels that the loops take together, all samples cut into such groups of about equal size: by
  // their number alone, so that results do not depend on how they are cut among threads.
  size_t groups() const { return ceil_div(panels(), kMostPanels); }
  size_t panels() const { return ceil_div(samples.n, kPanelSamples); }
  size_t first_panel(size_t group) const { return panels() * group / groups(); }

  // Groups from .. to - 1, whose panels lie next_panel apart from `panel` on, their rows `stride`
  // apart.
  void rows(size_t begin, size_t end, const float* panel, size_t stride, size_t next_panel,
            size_t from, size_t to) const {
    for (size_t group = from; group < to; ++group) {
      const size_t first = first_panel(group), last = first_panel(group + 1);
      some(begin, end, panel + (first - first_panel(from)) * next_panel, stride, next_panel,
           first * kPanelSamples, std::min(last * kPanelSamples, samples.n));
    }
  }

  void some(size_t begin, size_t end, const float* panel, size_t stride, size_t next_panel,
            size_t first, size_t last) const {
    const size_t count = last - first;
    if (samples.features == Features::kOuter)
      return kernel->outer(
          {w, begin, end, panel, stride, next_panel, count, bias, samples.y + first, samples.n});
    const size_t step = std::max<size_t>(kStripOutputs / w->block.rows, 1);
    for (; begin < end; begin += step)
      turned_strip(begin, std::min(begin + step, end), panel, next_panel, first, count);
  }

  void turned_strip(size_t begin, size_t end, const float* panel, size_t next_panel, size_t first,
                    size_t count) const {
    constexpr size_t kWidth = kMostPanels * kPanelSamples;
    alignas(64) std::array<float, kStripOutputs * kWidth> strip;
    const size_t output = w->places[begin].output;
    const size_t outputs = w->places[end - 1].output + w->places[end - 1].valid - output;
    kernel->outer({w, begin, end, panel, kPanelSamples, next_panel, round_up(count, kPanelSamples),
                   bias, strip.data() - output * kWidth, kWidth});
    transpose(strip.data(), outputs, count, kWidth, samples.y + first * w->outputs() + output,
              w->outputs());
  }
};

// Calls visit(begin, end) for strips of block rows whose weights stay in the first cache while
// several panels pass; for all at once where the weights stay in the second, so that a panel can
// stay in the first.
template <typename Visit>
void for_strips(const BlockRows& w, size_t begin, size_t end, const Visit& visit) {
  const size_t step = w.values.bytes().size() <= kKeptBytes
                          ? w.block_rows()
                          : std::max<size_t>(kStripOutputs / w.block.rows, 1);
  for (; begin < end; begin += step) visit(begin, std::min(begin + step, end));
}

// Each item packs and multiplies groups of its own: all rows of them.
struct OuterGroups {
  Outer outer;
  float* scratch;  // panels of kGroupsAtOnce groups for each item
  size_t items;

  void run(size_t item) const {
    const BlockRows& w = *outer.w;
    const size_t panel_size = panel_floats(w), groups = outer.groups();
    float* panels = scratch + item * kGroupsAtOnce * kMostPanels * panel_size;
    for (size_t from = groups * item / items, last = groups * (item + 1) / items; from < last;) {
      const size_t to = std::min(from + kGroupsAtOnce, last), first = outer.first_panel(from);
      for (size_t panel = first; panel < outer.first_panel(to); ++panel)
        pack_panel(w, outer.samples, panel * kPanelSamples, panels + (panel - first) * panel_size);
      for_strips(w, 0, w.block_rows(), [&](size_t begin, size_t end) {
        outer.rows(begin, end, panels, kPanelSamples, panel_size, from, to);
      });
      from = to;
    }
  }
};

// Each item multiplies rows of its own with samples where they lie.
struct OuterInPlace {
  Outer outer;
  size_t items;

  void run(size_t item) const {
    const BlockRows& w = *outer.w;
    const size_t begin = first_row_of(w, item, items), end = first_row_of(w, item + 1, items);
    for_strips(w, begin, end, [&](size_t from, size_t to) {
      outer.rows(from, to, outer.samples.x, outer.samples.n, kPanelSamples, 0, outer.groups());
    });
  }
};

// Each item multiplies rows of its own with the packed panels of few tiles.
struct OuterRows {
  Outer outer;
  const float* panels;
  size_t items;

  void run(size_t item) const {
    const BlockRows& w = *outer.w;
    const size_t begin = first_row_of(w, item, items), end = first_row_of(w, item + 1, items);
    const size_t panel_size = panel_floats(w);
    for_strips(w, begin, end, [&](size_t from, size_t to) {
      outer.rows(from, to, panels, kPanelSamples, panel_size, 0, outer.groups());
    });
  }
};

class BlockPanels final : public PanelProduct {
 public:
  BlockPanels(const BlockRows& w, const BlockKernel& kernel,
              const std::function<uint32_t(size_t input)>& offset)
      : w_(w), kernel_(kernel) {
    const size_t blocks = w.row_start.back();
    offsets_.reserve(blocks * w.block.cols);
    for (size_t b = 0; b < blocks; ++b)
      for (size_t c = 0; c < w.block.cols; ++c) offsets_.push_back(offset(w.column(b) + c));
  }

  void run(std::span<const float* const> runs, size_t item, size_t items, const float* bias,
           float* y, size_t y_stride) const override {
    kernel_.panel({&w_, first_row_of(w_, item, items), first_row_of(w_, item + 1, items),
                   offsets_.data(), runs, bias, y, y_stride});
  }

  std::pair<size_t, size_t> outputs(size_t item, size_t items) const override {
    return {output_of(first_row_of(w_, item, items)), output_of(first_row_of(w_, item + 1, items))};
  }

 private:
  size_t output_of(size_t row) const {
    return row == w_.block_rows() ? w_.outputs() : w_.places[row].output;
  }

  const BlockRows& w_;
  BlockKernel kernel_;
  std::vector<uint32_t> offsets_;  // of each column of each block
};

class BlockProduct final : public Product {
 public:
  BlockProduct(const SparseMatrix& weight, const BlockKernel& kernel)
      : w_(order_blocks(weight, false, columns_beside(weight.block))), kernel_(kernel) {}

  void run(const float* x, Features features, size_t n, const float* bias, float* y,
           ThreadPool& pool) const override {
    if (n == 0 || w_.outputs() == 0) return;
    // Narrow values are widened a vector at a time, which only rows in the lanes have.
    if (w_.values.dtype() != DType::kF32 && features == Features::kOuter && n >= kSamplesForOuter)
      return run_turned(x, n, bias, y, pool);
    const bool turn = w_.values.dtype() == DType::kF32 && w_.block.rows < kPanelSamples &&
                      n >= kSamplesForTurning;
    if (n == 1 || (features == Features::kInner && !turn)) {
      const float* padded = padded_features(x, n);
      run_inner({&w_, 0, 0, padded, n, w_.padded_k(), 1, bias, y, w_.outputs(), 1}, pool);
    } else if (n < kSamplesForOuter && features == Features::kOuter &&
               columns_beside(w_.block) > 1) {
      const float* turned = features_together(x, n, scratch_.floats(n * w_.padded_k()));
      run_inner({&w_, 0, 0, turned, n, w_.padded_k(), 1, bias, y, 1, n}, pool);
    } else if (n < kSamplesForOuter && features == Features::kOuter) {
      const float* padded = padded_rows(x, n);
      run_inner({&w_, 0, 0, padded, n, 1, n, bias, y, 1, n}, pool);
    } else {
      run_outer({&kernel_, &w_, {x, y, n, features}, bias}, pool);
    }
  }

  std::unique_ptr<const PanelProduct> in_place(
      const std::function<uint32_t(size_t input)>& offset) const override {
    if (w_.values.dtype() != DType::kF32 || !w_.diagonal.empty()) return nullptr;
    return std::make_unique<BlockPanels>(w_, kernel_, offset);
  }

  std::string_view kernel() const override { return kernel_.name; }
  size_t bytes() const override { return w_.bytes(); }

 private:
  // X [n, k] with rows of padded_k features, zeros behind the last.
  const float* padded_features(const float* x, size_t n) const {
    const size_t padded = w_.padded_k();
    if (padded == w_.k) return x;
    float* to = scratch_.floats(n * padded);
    for (size_t s = 0; s < n; ++s)
      std::fill(std::copy_n(x + s * w_.k, w_.k, to + s * padded), to + (s + 1) * padded, 0.0F);
    return to;
  }

  // X [k, n] with rows of zeros up to padded_k.
  const float* padded_rows(const float* x, size_t n) const {
    if (w_.padded_k() == w_.k) return x;
    float* to = scratch_.floats(n * w_.padded_k());
    std::fill(std::copy_n(x, w_.k * n, to), to + w_.padded_k() * n, 0.0F);
    return to;
  }

  // X [k, n] turned round, with zeros behind the last feature.
  const float* features_together(const float* x, size_t n, float* to) const {
    const size_t padded = w_.padded_k();
    for (size_t s = 0; s < n; ++s) std::fill(to + s * padded + w_.k, to + (s + 1) * padded, 0.0F);
    transpose(x, w_.k, n, n, to, padded);
    return to;
  }

  // X and Y turned round before and after.
  void run_turned(const float* x, size_t n, const float* bias, float* y, ThreadPool& pool) const {
    const size_t padded = w_.padded_k(), outputs = w_.outputs();
    float* const space = scratch_.floats(n * (padded + outputs));
    float* const results = space + n * padded;
    const float* const samples = features_together(x, n, space);
    run_inner({&w_, 0, 0, samples, n, padded, 1, bias, results, outputs, 1}, pool);
    transpose(results, n, outputs, outputs, y, n);
  }

  size_t work(size_t n) const { return work_before(w_, w_.block_rows()) * n; }

  void run_inner(const InnerTask& task, ThreadPool& pool) const {
    const size_t items = items_for(pool, work(task.n));
    for_each_item(pool, items, InnerItems{&kernel_, task, items});
  }

  void run_outer(const Outer& outer, ThreadPool& pool) const {
    const size_t n = outer.samples.n, panel_size = panel_floats(w_);
    const size_t items = items_for(pool, work(n));
    if (outer.samples.features == Features::kOuter && at_line(outer.samples.x) &&
        n % kPanelSamples == 0 && n <= kMostInPlace && w_.padded_k() == w_.k)
      return for_each_item(pool, items, OuterInPlace{outer, items});
    if (items == 1 || outer.groups() >= 2 * items) {
      float* panels = scratch_.floats(items * kGroupsAtOnce * kMostPanels * panel_size);
      for_each_item(pool, items, OuterGroups{outer, panels, items});
      return;
    }
    float* panels = scratch_.floats(outer.panels() * panel_size);
    for (size_t panel = 0; panel < outer.panels(); ++panel)
      pack_panel(w_, outer.samples, panel * kPanelSamples, panels + panel * panel_size);
    for_each_item(pool, items, OuterRows{outer, panels, items});
  }

  BlockRows w_;
  BlockKernel kernel_;
  mutable Scratch scratch_;  // not called by two threads at a time
};

}  // namespace

void finish_rows(const InnerTask& task, const BlockRowPlace& place, const float* sums,
                 size_t samples, const float* x, float* y) {
  const float* const diagonal = task.w->diagonal.empty() ? nullptr : task.w->diagonal.data();
  for (size_t s = 0; s < samples; ++s, sums += task.w->block.rows) {
    for (size_t r = 0; r < place.valid; ++r) {
      float sum = sums[r];
      const size_t output = place.output + r;
      if (diagonal != nullptr)
        sum += diagonal[output] * x[s * task.x_sample + (place.row_in_part + r) * task.x_feature];
      if (task.bias != nullptr) sum += task.bias[output];
      y[s * task.y_sample + output * task.y_output] = sum;
    }
  }
}

std::unique_ptr<const Product> make_block_product(const SparseMatrix& weight,
                                                  const BlockKernel& kernel) {
  return std::make_unique<BlockProduct>(weight, kernel);
}

}  // namespace espalier
