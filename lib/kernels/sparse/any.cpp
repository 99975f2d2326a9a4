// Blocks of every shape in plain code: what the other kernels are measured against.
#include <algorithm>
#include <array>

#include "lib/kernels/sparse/block_rows.h"
#include "lib/kernels/sparse_product.h"
#include "lib/kernels/split_rows.h"

namespace espalier {
namespace {

constexpr size_t kTile = 64;  // samples whose sums are held at a time

struct AnyTask {
  const BlockRows* w;
  const float* x;
  size_t n, x_sample, x_feature;
  const float* bias;
  float* y;
  size_t y_sample, y_output;
  size_t items;

  size_t column(size_t block) const {
    return w->wide_col.empty() ? w->narrow_col[block] : w->wide_col[block];
  }

  void run(size_t item) const {
    const size_t end = first_row_of(*w, item + 1, items);
    for (size_t row = first_row_of(*w, item, items); row < end; ++row) {
      const BlockRowPlace& place = w->places[row];
      for (size_t r = 0; r < place.valid; ++r)
        for (size_t first = 0; first < n; first += kTile)
          run_output(row, place, r, first, std::min(kTile, n - first));
    }
  }

  // sums += weight * x of one feature
  void add(float weight, size_t feature, size_t first, std::span<float> sums) const {
    const float* from = x + feature * x_feature + first * x_sample;
    if (x_sample == 1) {
      for (size_t s = 0; s < sums.size(); ++s) sums[s] += weight * from[s];
    } else {
      for (size_t s = 0; s < sums.size(); ++s) sums[s] += weight * from[s * x_sample];
    }
  }

  // Row r of a block row for `count` samples from `first` on.
  void run_output(size_t row, const BlockRowPlace& place, size_t r, size_t first,
                  size_t count) const {
    std::array<float, kTile> buffer;
    const std::span<float> sums(buffer.data(), count);
    const size_t output = place.output + r;
    std::fill(sums.begin(), sums.end(), bias == nullptr ? 0.0F : bias[output]);
    const BlockShape shape = w->block;
    for (size_t b = w->row_start[row]; b < w->row_start[row + 1]; ++b) {
      const float* values = w->data() + b * shape.area() + r;
      const size_t inside = std::min<size_t>(shape.cols, w->k - column(b));
      for (size_t c = 0; c < inside; ++c) add(values[c * shape.rows], column(b) + c, first, sums);
    }
    if (!w->diagonal.empty()) add(w->diagonal[output], place.row_in_part + r, first, sums);
    for (size_t s = 0; s < count; ++s) y[output * y_output + (first + s) * y_sample] = sums[s];
  }
};

class AnyProduct final : public Product {
 public:
  explicit AnyProduct(const SparseMatrix& weight) : w_(order_blocks(weight, true)) {}

  void run(const float* x, Features features, size_t n, const float* bias, float* y,
           ThreadPool& pool) const override {
    if (n == 0 || w_.outputs() == 0) return;
    const size_t items = items_for(pool, 4 * n * work_before(w_, w_.block_rows()));
    if (features == Features::kInner) {
      for_each_item(pool, items, AnyTask{&w_, x, n, w_.k, 1, bias, y, w_.outputs(), 1, items});
    } else {
      for_each_item(pool, items, AnyTask{&w_, x, n, 1, n, bias, y, 1, n, items});
    }
  }

  std::string_view kernel() const override { return "any"; }
  size_t bytes() const override { return w_.bytes(); }

 private:
  BlockRows w_;
};

std::unique_ptr<const Product> prepare(const SparseMatrix& weight) {
  return std::make_unique<AnyProduct>(weight);
}

}  // namespace

extern constinit const SparseKernel kernel_any{.name = "any", .block = {0, 0}, .prepare = prepare};

}  // namespace espalier
