#include <algorithm>
#include <memory>
#include <span>
#include <utility>

#include "lib/kernels/conv/conv_of_images.h"
#include "lib/kernels/conv/dense_conv.h"
#include "lib/kernels/elementwise/elementwise.h"
#include "lib/kernels/sparse/packed_or_dense.h"
#include "lib/ops/epilogue.h"
#include "lib/ops/fold.h"
#include "lib/ops/op_util.h"
#include "lib/ops/weight_product.h"
#include "lib/ops/window.h"
#include "lib/sparse/pack.h"

namespace espalier {
namespace {

// With very many groups each product is too small to win; depthwise filters run dense.
bool takes_packed(const Node& node, size_t input) {
  return input == 1 && int_attribute(node, "group", 1) <= 64;
}

struct Attributes {
  WindowAttributes window;
  size_t groups = 1;

  explicit Attributes(const Node& node) : window(node) {
    const int64_t group = int_attribute(node, "group", 1);
    if (group < 1) fail("group is {}", group);
    groups = static_cast<size_t>(group);
  }

  bool pads_follow_image() const {
    return window.auto_pad == AutoPad::kSameUpper || window.auto_pad == AutoPad::kSameLower;
  }

  // Everything but pads that follow from the image. A 1-D convolution is a 2-D one of height 1.
  ConvShape shape(const Dims& w) const {
    if (w.rank() < 3 || w.rank() > 4) {
      unsupported("a convolution over {} axes is not supported", w.rank() < 2 ? 0 : w.rank() - 2);
    }
    const size_t axes = w.rank() - 2, channels = static_cast<size_t>(w[0]);
    if (channels == 0 || channels % groups != 0 || w[1] < 1) {
      fail("weight {} with {} groups", to_string(w), groups);
    }
    ConvShape result;
    result.channels_in = static_cast<size_t>(w[1]) * groups;
    result.channels_out = channels;
    result.groups = groups;
    for (size_t i = 0; i < axes; ++i) {
      if (!window.kernel.empty() &&
          (window.kernel.size() != axes || window.kernel[i] != w[2 + i])) {
        fail("kernel_shape does not match the weight {}", to_string(w));
      }
      // Over an image that is as long as the window at least once.
      constexpr size_t kAnyExtent = size_t{1} << 50;
      set_axis(result, 2 - axes + i,
               window.resolve(i, axes, kAnyExtent, static_cast<size_t>(w[2 + i])));
    }
    return result;
  }

  // With the pads for images of extents `x`, which must fit.
  ConvShape shape(ConvShape base, const Dims& x, size_t weight_rank) const {
    if (x.rank() != weight_rank || static_cast<size_t>(x[1]) != base.channels_in) {
      fail("input {} for a convolution of {} channels over {} axes", to_string(x), base.channels_in,
           weight_rank - 2);
    }
    for (size_t i = 0; i < x.rank() - 2; ++i) {
      const size_t into = 4 - x.rank() + i;
      set_axis(base, into,
               window.resolve(i, x.rank() - 2, static_cast<size_t>(x[2 + i]), base.kernel[into]));
    }
    return base;
  }

 private:
  static void set_axis(ConvShape& shape, size_t into, const WindowAxis& axis) {
    shape.kernel[into] = axis.kernel;
    shape.stride[into] = axis.stride;
    shape.dilation[into] = axis.dilation;
    shape.pad_begin[into] = axis.pad_begin;
    shape.pad_end[into] = axis.pad_end;
  }
};

// Height and width of the images; 1-D ones have height 1.
std::array<size_t, 2> image_extents(const Dims& x) {
  if (x.rank() == 3) return {1, static_cast<size_t>(x[2])};
  return {static_cast<size_t>(x[2]), static_cast<size_t>(x[3])};
}

Dims output_dims(const Dims& x, const ConvShape& shape) {
  const std::array<size_t, 2> image = image_extents(x);
  Dims result{x[0], static_cast<int64_t>(shape.channels_out)};
  for (size_t i = x.rank() == 3 ? 1 : 0; i < 2; ++i) {
    result.push_back(static_cast<int64_t>(shape.output_extent(i, image[i])));
  }
  return result;
}

void check_bias(const RunContext& run, const ConvShape& shape) {
  if (run.has_input(2) && run.input(2).count() != shape.channels_out) {
    fail("{} biases for {} channels", run.input(2).count(), shape.channels_out);
  }
}

std::vector<WeightProducts::Piece> part_by_part(const Fold& fold) {
  std::vector<WeightProducts::Piece> pieces;
  for (size_t part = 0; part < fold.parts; ++part) pieces.push_back({part, 1});
  return pieces;
}

// The dense convolution that a packed filter stands for: made once per shape of images.
class DenseInstead {
 public:
  // Nothing where the filter is not packed, or is to run packed in any case.
  explicit DenseInstead(const PrepareContext& context) {
    const Weight* weight = context.constant(1);
    if (!weight->is_sparse() || context.always_packed || context.watched(1)) return;
    weight_ = weight->sparse();
    flag_ = context.may_run_dense(1);
    measured_ = context.measured;
  }

  bool is_quicker(const ConvShape& shape, size_t batch, size_t height, size_t width) const {
    return flag_ != nullptr && !packed_is_quicker(weight_, shape, batch, height, width, measured_);
  }

  void run(const ConvShape& shape, size_t batch, size_t height, size_t width, const float* x,
           const float* bias, float* y, ThreadPool& pool) {
    if (conv_ == nullptr || !(shape == shape_)) {
      conv_ = prepare_conv(shape, to_f32(decode(weight_)).data(), bias);
      shape_ = shape;
      *flag_ = true;
    }
    conv_->run(x, batch, height, width, y, pool);
  }

 private:
  SparseMatrix weight_;  // shares its values with the model
  RanDense flag_;
  MeasuredChoice measured_;
  ConvShape shape_;
  std::shared_ptr<const DenseConv> conv_;
};

// As products of matrices: packed weights, and 1x1 windows, which are multiplied where they lie.
class ProductsRun {
 public:
  explicit ProductsRun(const PrepareContext& context)
      : attributes_(context.node),
        constant_bias_(context.constant(2) != nullptr),
        weight_(context, 1, part_by_part, /*choose=*/false),
        dense_(context) {}

  void operator()(RunContext& run) {
    const Dims &x = run.input(0).dims, &w = run.input(1).dims;
    const ConvShape shape = attributes_.shape(attributes_.shape(w), x, w.rank());
    check_bias(run, shape);
    const float* images = f32_of(run, 0);
    const float* bias = run.has_input(2) ? f32_of(run, 2) : nullptr;
    const Dims dims = output_dims(x, shape);
    float* y = f32_output(run, 0, dims);
    if (checked_count(dims) == 0) return;
    prepare(shape, x, run);
    if (runs_dense_)
      return dense_.run(lying_, static_cast<size_t>(x[0]), height_, width_, images, bias, y,
                        run.pool());
    conv_.run(images, bias, y, run.scratch_f32(conv_.scratch(run.pool().threads())), run.pool());
  }

 private:
  void prepare(const ConvShape& shape, const Dims& x, const RunContext& run) {
    if (x == images_ && shape == shape_) return;
    const size_t batch = static_cast<size_t>(x[0]);
    const auto [height, width] = image_extents(x);
    height_ = height;
    width_ = width;
    lying_ = shape;
    lay_down(lying_, height_, width_);
    runs_dense_ =
        (constant_bias_ || !run.has_input(2)) && dense_.is_quicker(lying_, batch, height_, width_);
    if (!runs_dense_) conv_.prepare(shape, batch, height, width, weight_.get(run)->products);
    shape_ = shape;
    images_ = x;
  }

  Attributes attributes_;
  bool constant_bias_;
  WeightProducts weight_;
  DenseInstead dense_;
  // For images of the last shape:
  Dims images_;
  ConvShape shape_, lying_;
  size_t height_ = 0, width_ = 0;  // laid down
  bool runs_dense_ = false;
  ConvOfImages conv_;
};

// Prepared once where weight, bias and pads are known, else again whenever they change.
class DenseRun {
 public:
  explicit DenseRun(const PrepareContext& context) : attributes_(context.node) {
    const Weight *weight = context.constant(1), *bias = context.constant(2);
    constant_ = weight != nullptr && (bias != nullptr || !context.names_input(2));
    if (!constant_ || attributes_.pads_follow_image()) return;
    if (is_column(weight->shape())) return;  // the image decides
    if (!is_float(weight->dtype()) || weight->dtype() == DType::kF64) {
      unsupported_type(weight->dtype());
    }
    shape_ = attributes_.shape(Dims(weight->shape()));
    const Tensor weights = as_f32(weight->dense());
    const Tensor biases = bias == nullptr ? Tensor() : as_f32(bias->dense());
    if (bias != nullptr && biases.count() != shape_.channels_out) {
      fail("{} biases for {} channels", biases.count(), shape_.channels_out);
    }
    conv_ = prepare_conv(shape_, weights.data<float>().data(),
                         bias == nullptr ? nullptr : biases.data<float>().data());
    context.replaces(1, weights.bytes().size());
  }

  void operator()(RunContext& run) {
    const Dims &x = run.input(0).dims, &w = run.input(1).dims;
    const ConvShape shape = attributes_.shape(attributes_.shape(w), x, w.rank());
    check_bias(run, shape);
    const float* images = f32_of(run, 0);
    const Dims dims = output_dims(x, shape);
    float* y = f32_output(run, 0, dims);
    if (checked_count(dims) == 0) return;
    auto [height, width] = image_extents(x);
    ConvShape lying = shape;
    if (is_column(w.shape())) lay_down(lying, height, width);
    prepare(run, lying);
    conv_->run(images, static_cast<size_t>(x[0]), height, width, y, run.pool());
  }

 private:
  static bool is_column(const Shape& w) { return w.size() == 4 && w[2] > 1 && w[3] == 1; }

  void prepare(const RunContext& run, const ConvShape& shape) {
    if (conv_ != nullptr && constant_ && shape == shape_) return;
    const float* bias = run.has_input(2) ? f32_of(run, 2) : nullptr;
    conv_ = prepare_conv(shape, f32_of(run, 1), bias);
    shape_ = shape;
  }

  Attributes attributes_;
  bool constant_ = false;
  ConvShape shape_;
  std::shared_ptr<const DenseConv> conv_;
};

// Where a window sees one place of one image and moves by one: W times the image.
bool is_plain_product(const PrepareContext& context, const Shape& weight) {
  const Attributes attributes(context.node);
  if (attributes.groups != 1 || !fold_conv(context.node, 1, weight)) return false;
  const auto all = [](const auto& values, int64_t value) {
    return std::ranges::all_of(values, [value](int64_t v) { return v == value; });
  };
  return all(std::span(weight).subspan(2), 1) && all(attributes.window.strides, 1) &&
         all(attributes.window.pads, 0);
}

Run prepare(const PrepareContext& context) {
  const Weight* weight = context.constant(1);
  if (weight == nullptr) return DenseRun(context);
  const bool product =
      weight->is_sparse() || context.watched(1) || is_plain_product(context, weight->shape());
  if (product) return ProductsRun(context);
  return DenseRun(context);
}

}  // namespace

constinit const Operator conv_operator{.name = "Conv",
                                       .fold = fold_conv,
                                       .takes_packed = takes_packed,
                                       .prepare = prepare,
                                       .half_as_f32 = true};

constinit const Operator fused_conv_operator{
    .name = "Conv",
    .fold = fold_conv,
    .takes_packed = takes_packed,
    .prepare =
        [](const PrepareContext& context) { return with_epilogue(prepare(context), context.node); },
    .domain = kFusedDomain};

}  // namespace espalier
