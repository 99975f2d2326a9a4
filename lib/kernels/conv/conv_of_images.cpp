#include "lib/kernels/conv/conv_of_images.h"

#include <utility>

namespace espalier {

void lay_down(ConvShape& shape, size_t& height, size_t& width) {
  if (width != 1 || shape.kernel[1] != 1 || shape.pad_begin[1] != 0 || shape.pad_end[1] != 0)
    return;
  shape.stride[1] = 1;
  std::swap(height, width);
  for (auto* extents :
       {&shape.kernel, &shape.stride, &shape.dilation, &shape.pad_begin, &shape.pad_end})
    std::swap((*extents)[0], (*extents)[1]);
}

void ConvOfImages::prepare(const ConvShape& shape, size_t batch, size_t height, size_t width,
                           const std::vector<std::shared_ptr<const Product>>& products) {
  if (!products_.empty() && shape == shape_ && batch == batch_ && height == height_ &&
      width == width_)
    return;
  tiles_ = nullptr;
  if (!im2col_is_identity(shape)) {
    ConvShape lying = shape;
    size_t lying_height = height, lying_width = width;
    lay_down(lying, lying_height, lying_width);
    tiles_ = std::make_shared<ConvProduct>(lying, lying_height, lying_width, batch, products);
  }
  products_ = products;
  shape_ = shape;
  batch_ = batch;
  height_ = height;
  width_ = width;
}

size_t ConvOfImages::scratch(size_t threads) const {
  return tiles_ == nullptr ? 0 : tiles_->scratch(threads);
}

void ConvOfImages::run(const float* x, const float* bias, float* y, float* scratch,
                       ThreadPool& pool) const {
  if (tiles_ == nullptr) return multiply_images(x, bias, y, pool);
  tiles_->run(x, bias, y, scratch, pool);
}

void ConvOfImages::multiply_images(const float* x, const float* bias, float* y,
                                   ThreadPool& pool) const {
  const size_t places = height_ * width_, outputs = shape_.channels_out / shape_.groups;
  const size_t inputs = shape_.channels_in / shape_.groups;
  for (size_t piece = 0; piece < batch_ * shape_.groups; ++piece) {
    const size_t group = piece % shape_.groups;
    products_[group]->run(x + piece * inputs * places, Features::kOuter, places,
                          bias == nullptr ? nullptr : bias + group * outputs,
                          y + piece * outputs * places, pool);
  }
}

}  // namespace espalier
