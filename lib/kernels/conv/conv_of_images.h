#pragma once

#include <memory>
#include <vector>

#include "lib/kernels/conv/conv_product.h"

namespace espalier {

/// Windows of one column over images of one column are windows of one line over images of one line,
/// whose places are neighbours: that is what oneDNN is quick at, too (1-D convolutions of TensorFlow
/// are columns: magika runs 4 times as fast).
void lay_down(ConvShape& shape, size_t& height, size_t& width);

/// A convolution by products, laid out for images of one size at a time: tiles of ConvProduct, or
/// where a window is one place of the image, products with the images where they lie.
class ConvOfImages {
 public:
  /// For `batch` images [channels_in, height, width], all extents of the output at least 1. Does
  /// nothing where shape and extents are those of the last call.
  /// `products`: one of each group, the same in every call.
  void prepare(const ConvShape& shape, size_t batch, size_t height, size_t width,
               const std::vector<std::shared_ptr<const Product>>& products);

  /// Floats of memory that run() needs on so many threads.
  size_t scratch(size_t threads) const;
  /// As ConvProduct::run, for what was prepared last. scratch begins at a multiple of 64 bytes.
  void run(const float* x, const float* bias, float* y, float* scratch, ThreadPool& pool) const;

 private:
  void multiply_images(const float* x, const float* bias, float* y, ThreadPool& pool) const;

  ConvShape shape_;
  size_t batch_ = 0, height_ = 0, width_ = 0;
  std::vector<std::shared_ptr<const Product>> products_;
  std::shared_ptr<const ConvProduct> tiles_;  // null: images are multiplied where they lie
};

}  // namespace espalier
