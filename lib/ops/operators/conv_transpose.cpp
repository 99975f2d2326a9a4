// The transposed convolution: each input place adds its filter to the output places that a
// convolution would have read it from.

#include <algorithm>

#include "lib/kernels/dense/multiply_matrices.h"
#include "lib/ops/fold.h"
#include "lib/ops/op_util.h"
#include "lib/ops/weight_product.h"
#include "lib/ops/window.h"

namespace espalier {
namespace {

// One axis: output place of input place i and filter place k is i * stride + k * dilation - pad.
struct Axis {
  size_t input, kernel, stride, dilation, output;
  int64_t pad;
};

struct Attributes {
  WindowAttributes window;
  std::vector<int64_t> output_padding, output_shape;
  size_t groups;

  explicit Attributes(const Node& node)
      : window(node),
        output_padding(ints_attribute(node, "output_padding", {})),
        output_shape(ints_attribute(node, "output_shape", {})),
        groups(static_cast<size_t>(std::max<int64_t>(int_attribute(node, "group", 1), 0))) {
    if (groups == 0) fail("group is below 1");
  }

  // Axis i of `count` spatial axes: its output extent from pads, output_shape or auto_pad, and how
  // much the full result is cut in front.
  Axis axis(size_t i, size_t count, size_t extent, size_t kernel) const {
    // Only what does not depend on the extent is taken from the window.
    WindowAttributes plain = window;
    if (plain.auto_pad != AutoPad::kNone) plain.pads.clear();
    plain.auto_pad = AutoPad::kNone;
    const WindowAxis w = plain.resolve(i, count, size_t{1} << 50, kernel);
    const auto listed = [&](const std::vector<int64_t>& values, const char* name) {
      if (values.empty()) return int64_t{0};
      // output_shape may be the whole shape.
      const size_t skip = values.size() == count + 2 ? 2 : 0;
      if (values.size() != count + skip || values[skip + i] < 0 || values[skip + i] > 1 << 24) {
        fail("{} does not match {} axes", name, count);
      }
      return values[skip + i];
    };
    const int64_t extra = listed(output_padding, "output_padding");
    const int64_t full =
        static_cast<int64_t>((extent == 0 ? 0 : extent - 1) * w.stride + w.span()) + extra;
    Axis result{extent, kernel, w.stride, w.dilation, 0, static_cast<int64_t>(w.pad_begin)};
    const bool same =
        window.auto_pad == AutoPad::kSameUpper || window.auto_pad == AutoPad::kSameLower;
    if (!output_shape.empty() || same) {
      const int64_t wanted = output_shape.empty() ? static_cast<int64_t>(extent * w.stride)
                                                  : listed(output_shape, "output_shape");
      const int64_t cut = std::max<int64_t>(full - wanted, 0);
      // ONNX, ConvTranspose: SAME_UPPER puts the odd one at the end, everything else in front.
      result.pad = window.auto_pad == AutoPad::kSameUpper ? cut / 2 : cut - cut / 2;
      result.output = static_cast<size_t>(wanted);
    } else {
      const int64_t output = full - static_cast<int64_t>(w.pad_begin + w.pad_end);
      if (output < 0) fail("pads remove all of {} positions", full);
      result.output = static_cast<size_t>(output);
    }
    return result;
  }
};

// columns [channels, kh, kw, h, w] added into image [channels, oh, ow].
void add_columns(const float* columns, size_t channels, const Axis& v, const Axis& h, float* image,
                 ThreadPool& pool) {
  const size_t places = v.input * h.input, taps = v.kernel * h.kernel;
  parallel(pool, channels, taps * places, [&](size_t begin, size_t end) {
    for (size_t c = begin; c < end; ++c) {
      for (size_t tap = 0; tap < taps; ++tap) {
        const float* from = columns + (c * taps + tap) * places;
        const auto row_shift = static_cast<int64_t>(tap / h.kernel * v.dilation) - v.pad;
        const auto column_shift = static_cast<int64_t>(tap % h.kernel * h.dilation) - h.pad;
        for (size_t i = 0; i < v.input; ++i) {
          const int64_t row = static_cast<int64_t>(i * v.stride) + row_shift;
          if (row < 0 || row >= static_cast<int64_t>(v.output)) continue;
          float* to = image + (c * v.output + static_cast<size_t>(row)) * h.output;
          for (size_t j = 0; j < h.input; ++j) {
            const int64_t column = static_cast<int64_t>(j * h.stride) + column_shift;
            if (column < 0 || column >= static_cast<int64_t>(h.output)) continue;
            to[column] += from[i * h.input + j];
          }
        }
      }
    }
  });
}

bool takes_packed(const Node& node, size_t input) {
  return input == 1 && int_attribute(node, "group", 1) <= 64;
}

std::vector<WeightProducts::Piece> part_by_part(const Fold& fold) {
  std::vector<WeightProducts::Piece> pieces;
  for (size_t part = 0; part < fold.parts; ++part) pieces.push_back({part, 1});
  return pieces;
}

// Per image and group: columns = weight^T x image, then each column is added where its window lies
// in the output, which starts as the bias. `products` are null where the weight is multiplied as it
// lies in memory.
void run_transposed(RunContext& run, const Attributes& attributes, const WeightProducts* products) {
  const Dims &x = run.input(0).dims, &w = run.input(1).dims;
  if (x.rank() != 3 && x.rank() != 4) {
    unsupported("a convolution over {} axes is not supported", x.rank() < 2 ? 0 : x.rank() - 2);
  }
  const size_t groups = attributes.groups, axes = x.rank() - 2;
  const bool fits = w.rank() == x.rank() && w[0] == x[1] && static_cast<size_t>(x[1]) % groups == 0;
  if (!fits) fail("weight {} with {} groups for {}", to_string(w), groups, to_string(x));
  const auto axis_at = [&](size_t i) {
    return attributes.axis(i, axes, static_cast<size_t>(x[2 + i]), static_cast<size_t>(w[2 + i]));
  };
  const Axis v = axes == 2 ? axis_at(0) : Axis{1, 1, 1, 1, 1, 0}, h = axis_at(axes - 1);
  const size_t channels = static_cast<size_t>(w[1]);  // of one group's output
  Dims dims{x[0], w[1] * static_cast<int64_t>(groups)};
  if (axes == 2) dims.push_back(static_cast<int64_t>(v.output));
  dims.push_back(static_cast<int64_t>(h.output));
  if (run.has_input(2) && run.input(2).count() != channels * groups) {
    fail("{} biases for {} channels", run.input(2).count(), channels * groups);
  }
  const float* images = f32_of(run, 0);
  const float* weight = products == nullptr ? f32_of(run, 1) : nullptr;
  const float* bias = run.has_input(2) ? f32_of(run, 2) : nullptr;
  float* y = f32_output(run, 0, dims);
  if (checked_count(dims) == 0) return;
  const auto made = products == nullptr ? nullptr : products->get(run);
  const size_t inputs = static_cast<size_t>(x[1]) / groups, places = v.input * h.input;
  const size_t rows = channels * v.kernel * h.kernel, plane = v.output * h.output;
  float* columns = run.scratch_f32(rows * places);
  for (size_t piece = 0; piece < static_cast<size_t>(x[0]) * groups; ++piece) {
    const size_t group = piece % groups;
    float* image = y + piece * channels * plane;
    for (size_t c = 0; c < channels; ++c) {
      std::fill_n(image + c * plane, plane, bias == nullptr ? 0 : bias[group * channels + c]);
    }
    if (rows * places == 0) continue;
    const float* x = images + piece * inputs * places;
    if (made != nullptr) {
      made->products[group]->run(x, Features::kOuter, places, nullptr, columns, run.pool());
    } else {
      multiply_matrices({weight + group * inputs * rows, true}, {x}, rows, inputs, places, columns,
                        run.pool());
    }
    add_columns(columns, channels, v, h, image, run.pool());
  }
}

Run prepare(const PrepareContext& context) {
  const Attributes attributes(context.node);
  const Weight* weight = context.constant(1);
  const bool product = weight != nullptr && (weight->is_sparse() || context.watched(1)) &&
                       fold_conv_transpose(context.node, 1, weight->shape());
  if (!product) return [attributes](RunContext& run) { run_transposed(run, attributes, nullptr); };
  return [attributes, products = WeightProducts(context, 1, part_by_part)](RunContext& run) {
    run_transposed(run, attributes, &products);
  };
}

}  // namespace

constinit const Operator conv_transpose_operator{.name = "ConvTranspose",
                                                 .fold = fold_conv_transpose,
                                                 .takes_packed = takes_packed,
                                                 .prepare = prepare,
                                                 .half_as_f32 = true};

}  // namespace espalier
