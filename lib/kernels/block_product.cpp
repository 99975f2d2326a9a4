#include "lib/kernels/block_product.h"

#include <algorithm>
#include <cstring>

#include "lib/kernels/split_rows.h"

namespace espalier {
namespace {

// From this many samples on, samples go into the lanes where X comes as [k, n].
constexpr size_t kSamplesForOuter = 9;

// Samples first .. first + kPanelSamples - 1 of X [k, n] as [padded_k, kPanelSamples], zeros where
// there is no sample or feature.
void pack_panel(const BlockRows& w, const float* x, size_t n, size_t first, float* panel) {
  const size_t samples = std::min(kPanelSamples, n - first);
  if (samples == kPanelSamples) {
    for (size_t f = 0; f < w.k; ++f)
      std::memcpy(panel + f * kPanelSamples, x + f * n + first, kPanelSamples * sizeof(float));
  } else {
    for (size_t f = 0; f < w.k; ++f) {
      float* to = panel + f * kPanelSamples;
      std::fill(std::copy_n(x + f * n + first, samples, to), to + kPanelSamples, 0.0F);
    }
  }
  std::fill(panel + w.k * kPanelSamples, panel + w.padded_k() * kPanelSamples, 0.0F);
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

// Each item packs and multiplies tiles of its own: all rows of them.
struct OuterTiles {
  const BlockKernel* kernel;
  const BlockRows* w;
  const float* x;
  size_t n;
  const float* bias;
  float* y;
  float* scratch;  // a panel for each item
  size_t items;

  void run(size_t item) const {
    const size_t tiles = ceil_div(n, kPanelSamples);
    float* panel = scratch + item * w->padded_k() * kPanelSamples;
    for (size_t tile = tiles * item / items; tile < tiles * (item + 1) / items; ++tile) {
      const size_t first = tile * kPanelSamples;
      pack_panel(*w, x, n, first, panel);
      kernel->outer(
          {w, 0, w->block_rows(), panel, std::min(kPanelSamples, n - first), bias, y + first, n});
    }
  }
};

// Each item multiplies rows of its own with the packed panels of few tiles.
struct OuterRows {
  const BlockKernel* kernel;
  const BlockRows* w;
  size_t n;
  const float* bias;
  float* y;
  const float* panels;
  size_t items;

  void run(size_t item) const {
    const size_t begin = first_row_of(*w, item, items), end = first_row_of(*w, item + 1, items);
    const size_t panel_size = w->padded_k() * kPanelSamples;
    for (size_t first = 0, tile = 0; first < n; first += kPanelSamples, ++tile)
      kernel->outer({w, begin, end, panels + tile * panel_size, std::min(kPanelSamples, n - first),
                     bias, y + first, n});
  }
};

class BlockProduct final : public SparseProduct {
 public:
  BlockProduct(const SparseMatrix& weight, const BlockKernel& kernel)
      : w_(order_blocks(weight)), kernel_(kernel) {}

  void run(const float* x, Features features, size_t n, const float* bias, float* y,
           ThreadPool& pool) const override {
    if (n == 0 || w_.outputs() == 0) return;
    if (features == Features::kInner || n == 1) {
      const float* padded = padded_features(x, n);
      run_inner({&w_, 0, 0, padded, n, w_.padded_k(), 1, bias, y, w_.outputs(), 1}, pool);
    } else if (n < kSamplesForOuter) {
      const float* padded = padded_rows(x, n);
      run_inner({&w_, 0, 0, padded, n, 1, n, bias, y, 1, n}, pool);
    } else {
      run_outer(x, n, bias, y, pool);
    }
  }

  std::string_view kernel() const override { return kernel_.name; }
  size_t bytes() const override { return w_.bytes(); }

 private:
  float* scratch(size_t count) const {
    if (scratch_.size() < count) scratch_.resize(count);
    return scratch_.data();
  }

  // X [n, k] with rows of padded_k features, zeros behind the last.
  const float* padded_features(const float* x, size_t n) const {
    const size_t padded = w_.padded_k();
    if (padded == w_.k) return x;
    float* to = scratch(n * padded);
    for (size_t s = 0; s < n; ++s)
      std::fill(std::copy_n(x + s * w_.k, w_.k, to + s * padded), to + (s + 1) * padded, 0.0F);
    return to;
  }

  // X [k, n] with rows of zeros up to padded_k.
  const float* padded_rows(const float* x, size_t n) const {
    if (w_.padded_k() == w_.k) return x;
    float* to = scratch(n * w_.padded_k());
    std::fill(std::copy_n(x, w_.k * n, to), to + w_.padded_k() * n, 0.0F);
    return to;
  }

  size_t work(size_t n) const { return work_before(w_, w_.block_rows()) * n; }

  void run_inner(const InnerTask& task, ThreadPool& pool) const {
    const size_t items = items_for(pool, work(task.n));
    for_each_item(pool, items, InnerItems{&kernel_, task, items});
  }

  void run_outer(const float* x, size_t n, const float* bias, float* y, ThreadPool& pool) const {
    const size_t tiles = ceil_div(n, kPanelSamples), panel_size = w_.padded_k() * kPanelSamples;
    const size_t items = items_for(pool, work(n));
    if (items == 1 || tiles >= 2 * items) {
      float* panels = scratch(items * panel_size);
      for_each_item(pool, items, OuterTiles{&kernel_, &w_, x, n, bias, y, panels, items});
      return;
    }
    float* panels = scratch(tiles * panel_size);
    for (size_t tile = 0; tile < tiles; ++tile)
      pack_panel(w_, x, n, tile * kPanelSamples, panels + tile * panel_size);
    for_each_item(pool, items, OuterRows{&kernel_, &w_, n, bias, y, panels, items});
  }

  BlockRows w_;
  BlockKernel kernel_;
  mutable std::vector<float> scratch_;  // not called by two threads at a time
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

std::unique_ptr<const SparseProduct> make_block_product(const SparseMatrix& weight,
                                                        const BlockKernel& kernel) {
  return std::make_unique<BlockProduct>(weight, kernel);
}

}  // namespace espalier
