#pragma once

#include <algorithm>
#include <memory>

#include "lib/kernels/sparse/block_rows.h"
#include "lib/kernels/sparse_product.h"

namespace espalier {

/// Columns of a block that lie beside each other in w.values (order_blocks), so that with its rows
/// they fill a long vector.
constexpr size_t columns_beside(BlockShape block) {
  return block.rows >= 16 ? 1 : std::min<size_t>(block.cols, 16 / block.rows);
}

/// Block rows first .. last - 1 of Y = W X + bias with the rows of a block in the lanes. Feature f
/// of sample s is x[s * x_sample + f * x_feature], f up to w.padded_k() - 1, and output o of it is
/// y[s * y_sample + o * y_output]. One stride of each is 1; x_feature is where columns lie beside
/// each other.
struct InnerTask {
  const BlockRows* w;
  size_t first, last;
  const float* x;
  size_t n, x_sample, x_feature;
  const float* bias;  ///< null: none
  float* y;
  size_t y_sample, y_output;
};

/// The end of a block row where a loop has no quicker way: adds diagonal and bias to sums [samples,
/// block.rows] and writes those of valid rows. x and y are those of the first sample.
void finish_rows(const InnerTask& task, const BlockRowPlace& place, const float* sums,
                 size_t samples, const float* x, float* y);

/// Panels that an OuterTask may have.
constexpr size_t kMostPanels = 3;

/// As InnerTask, with samples in the lanes, f32 values alone. panel is [w.padded_k(),
/// kPanelSamples], rows panel_stride apart; with more samples than that others lie next_panel
/// behind each other. The first `samples` of them all count. Output o of sample s is y[o * y_stride
/// + s].
struct OuterTask {
  const BlockRows* w;
  size_t first, last;
  const float* panel;
  size_t panel_stride, next_panel, samples;
  const float* bias;
  float* y;
  size_t y_stride;
};

/// As OuterTask, with a panel that is read where it lies (PanelProduct): column c of block b from
/// offsets[b * block.cols + c] behind each of 1, 2 or 4 runs.
struct PanelTask {
  const BlockRows* w;
  size_t first, last;
  const uint32_t* offsets;
  std::span<const float* const> runs;
  const float* bias;
  float* y;
  size_t y_stride;
};

/// The loops of a block kernel, by the instruction set in use.
struct BlockKernel {
  std::string_view name;
  void (*inner)(const InnerTask& task);
  void (*outer)(const OuterTask& task);
  void (*panel)(const PanelTask& task);
};

/// Cuts the work among threads, pads and packs X, and calls the loops of `kernel`.
std::unique_ptr<const Product> make_block_product(const SparseMatrix& weight,
                                                  const BlockKernel& kernel);

}  // namespace espalier
