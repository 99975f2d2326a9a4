#pragma once

#include <memory>
#include <vector>

#include "lib/kernels/conv/im2col.h"
#include "lib/kernels/product.h"

namespace espalier {

/// What ConvProduct does for one run, for all groups: samples that are multiplied, how many at
/// once, floats that are laid out, in how many lines, and floats that are copied to columns.
struct ConvWork {
  size_t samples, at_once, laid_out, lines, copied;
};
/// With a kernel that can read samples where they lie, or one that cannot.
ConvWork conv_work(const ConvShape& shape, size_t height, size_t width, size_t batch,
                   bool in_place);

/// A convolution as products of its groups' filters [channels_out / groups, im2col_rows], tile by
/// tile of the output: what a tile sees is laid out in half of the second cache, and multiplied
/// where it lies if the kernel can, else copied to columns. The matrix of im2col is never whole.
class ConvProduct {
 public:
  /// For `batch` images [channels_in, height, width], all extents of the output at least 1.
  /// `products`: one of each group.
  ConvProduct(const ConvShape& shape, size_t height, size_t width, size_t batch,
              std::vector<std::shared_ptr<const Product>> products);

  /// Floats of memory that run() needs on so many threads.
  size_t scratch(size_t threads) const;

  /// x [batch, channels_in, height, width], y [batch, channels_out, rows, cols] of the output, bias
  /// [channels_out] or null. Results do not depend on the number of threads.
  void run(const float* x, const float* bias, float* y, float* scratch, ThreadPool& pool) const;

 private:
  struct Unit;
  struct Run {
    size_t from, to, count;  // in the patches, in y, places
  };
  bool read_in_place();
  Unit unit(size_t number, const float* x, const float* bias, float* y) const;
  Run run_of(const Unit& unit, size_t number) const;
  void multiply_in_place(const Unit& unit, size_t item, size_t items, const float* patches,
                         float* strip) const;
  void multiply_columns(const Unit& unit, const float* patches, float* columns,
                        ThreadPool& pool) const;
  size_t outputs() const { return shape_.channels_out / shape_.groups; }  // of a group
  size_t space() const;                                                   // floats of a thread

  ConvShape shape_;
  size_t height_, width_, batch_, rows_, cols_;
  std::vector<std::shared_ptr<const Product>> products_;
  Im2col layout_;
  std::vector<std::unique_ptr<const PanelProduct>> in_place_;  // empty: columns are copied
  std::vector<size_t> offsets_;                                // of inputs whose columns are copied
  size_t most_columns_ = 0;
};

}  // namespace espalier
