#include <algorithm>
#include <vector>

#include "lib/c/kernels/guard.h"
#include "lib/c/kernels/handles.h"
#include "lib/kernels/conv/conv_of_images.h"
#include "lib/kernels/scratch.h"

struct espalier_conv {
  espalier::ConvShape shape;
  std::vector<std::shared_ptr<const espalier::Product>> products;  // one of each group
  espalier::ConvOfImages images;
  espalier::Scratch scratch;
};

namespace espalier {
namespace {

constexpr size_t kMostExtent = size_t{1} << 31;

std::array<size_t, 2> extents(const size_t (&given)[2], size_t least, const char* name) {
  for (const size_t extent : given)
    expect(extent >= least && extent < kMostExtent, "{} is {}x{}, expected {} to 2^31 each", name,
           given[0], given[1], least);
  return {given[0], given[1]};
}

ConvShape shape_of(const espalier_conv_desc& desc, const Fold& fold) {
  ConvShape shape;
  shape.kernel = extents(desc.kernel, 1, "kernel");
  shape.stride = extents(desc.stride, 1, "stride");
  shape.dilation = extents(desc.dilation, 1, "dilation");
  shape.pad_begin = extents(desc.pad_begin, 0, "pad_begin");
  shape.pad_end = extents(desc.pad_end, 0, "pad_end");
  const size_t window = product_of_extents({shape.kernel[0], shape.kernel[1]}, "kernel");
  expect(fold.cols % window == 0, "weight has {} inputs, expected a multiple of the window {}x{}",
         fold.cols, shape.kernel[0], shape.kernel[1]);
  shape.groups = fold.parts;
  shape.channels_in = product_of_extents({fold.cols / window, fold.parts}, "weight");
  shape.channels_out = fold.parts * fold.rows;
  return shape;
}

std::array<size_t, 2> output_of(const ConvShape& shape, size_t height, size_t width) {
  expect(height < kMostExtent && width < kMostExtent, "images of {}x{}, expected less than 2^31",
         height, width);
  return {shape.output_extent(0, height), shape.output_extent(1, width)};
}

}  // namespace
}  // namespace espalier

using namespace espalier;

extern "C" {

espalier_status espalier_conv_create(const espalier_conv_desc* desc, espalier_conv** conv) {
  return guarded([&] {
    espalier_conv*& result = not_null(conv, "conv");
    result = nullptr;
    const espalier_conv_desc& given = described(desc, "desc");
    const bool exact = exact_values(given.flags, "conv");
    const SparseMatrix& weight = not_null(given.weight, "weight").matrix;
    auto made = std::make_unique<espalier_conv>();
    made->shape = shape_of(given, weight.fold);
    for (size_t group = 0; group < weight.fold.parts; ++group)
      made->products.push_back(prepare_sparse_parts(weight, group, 1, /*plain=*/false, exact));
    result = made.release();
  });
}

espalier_status espalier_conv_output(const espalier_conv* conv, size_t height, size_t width,
                                     size_t output[2]) {
  return guarded([&] {
    const ConvShape& shape = not_null(conv, "conv").shape;
    expect(output != nullptr, "output is null");
    std::ranges::copy(output_of(shape, height, width), output);
  });
}

espalier_status espalier_conv_run(espalier_conv* conv, const float* x, size_t batch, size_t height,
                                  size_t width, const float* bias,
                                  const espalier_activation* activation, float* y,
                                  espalier_pool* pool) {
  return guarded([&] {
    espalier_conv& of = not_null(conv, "conv");
    const OutputStage stage(activation);
    const auto [rows, cols] = output_of(of.shape, height, width);
    product_of_extents({batch, of.shape.channels_in, height, width, sizeof(float)}, "x");
    const size_t count =
        product_of_extents({batch, of.shape.channels_out, rows, cols, sizeof(float)}, "y") /
        sizeof(float);
    if (batch == 0) return;
    expect(count != 0, "the window does not fit into images of {}x{}", height, width);
    not_null(x, "x");
    not_null(y, "y");
    ThreadPool& threads = pool_of(pool);
    of.images.prepare(of.shape, batch, height, width, of.products);
    float* const scratch = of.scratch.floats(of.images.scratch(threads.threads()));
    of.images.run(x, bias, y, scratch, threads);
    stage.apply({y, count}, threads);
  });
}

size_t espalier_conv_bytes(const espalier_conv* conv) {
  if (conv == nullptr) return 0;
  size_t sum = 0;
  for (const auto& product : conv->products) sum += product->bytes();
  return sum;
}

void espalier_conv_destroy(espalier_conv* conv) { delete conv; }

}  // extern "C"
