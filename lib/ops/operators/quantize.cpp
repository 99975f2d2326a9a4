// QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear.

#include <algorithm>
#include <cmath>
#include <vector>

#include "lib/base/checked_math.h"
#include "lib/ops/elements.h"
#include "lib/ops/op_util.h"

namespace espalier {
namespace {

// Which scale and zero point belong to which element: one for all, one for each place of an axis,
// or one for `block` neighbours along it. Elements are walked as [outer, extent, inner].
struct Grain {
  size_t outer = 1, extent = 1, inner = 1;
  size_t outer_step = 0, block = 1, place_step = 0, inner_step = 0;

  size_t param(size_t o, size_t place, size_t i) const {
    return o * outer_step + place / block * place_step + i * inner_step;
  }
};

// The grain by the shape of the scales: a single number is for all elements, a vector for the
// indices of the axis, a tensor for blocks of block_size along it.
Grain grain_of(const Dims& x, const Dims& scale, int64_t axis_attribute, int64_t block_size) {
  Grain grain;
  if (block_size < 0) fail("block_size is {}", block_size);
  if (block_size == 0 && scale.count() == 1 && scale.rank() <= 1) {
    grain.inner = x.count();
    return grain;
  }
  const size_t rank = x.rank(), axis = axis_of(axis_attribute, rank);
  grain.outer = x.product(0, axis);
  grain.extent = static_cast<size_t>(x[axis]);
  grain.inner = x.product(axis + 1, rank);
  grain.place_step = 1;
  if (block_size == 0) {
    if (scale.rank() != 1 || scale[0] != x[axis]) {
      fail("scales of shape {} for axis {} of {}", to_string(scale), axis, to_string(x));
    }
    return grain;
  }
  grain.block = static_cast<size_t>(block_size);
  Dims wanted = x;
  wanted[axis] = static_cast<int64_t>(ceil_div(grain.extent, grain.block));
  if (!(scale == wanted)) {
    fail("scales have shape {}, blocks of {} need {}", to_string(scale), block_size,
         to_string(wanted));
  }
  grain.place_step = grain.inner;
  grain.outer_step = static_cast<size_t>(wanted[axis]) * grain.inner;
  grain.inner_step = 1;
  return grain;
}

// Calls body(element, parameter) for all elements.
template <typename Body>
void for_elements(const Grain& grain, const Body& body) {
  size_t element = 0;
  for (size_t o = 0; o < grain.outer; ++o) {
    for (size_t place = 0; place < grain.extent; ++place) {
      for (size_t i = 0; i < grain.inner; ++i) body(element++, grain.param(o, place, i));
    }
  }
}

std::vector<double> numbers_of(const TensorView& view) {
  std::vector<double> values(view.count());
  with_numbers(view, [&](const auto& at) {
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(at(i));
  });
  return values;
}

// Zero points, as many as scales; all 0 where the node has none.
std::vector<double> zeros_of(const RunContext& run, const Dims& scale) {
  if (!run.has_input(2)) return std::vector<double>(scale.count(), 0.0);
  const bool both_one = run.input(2).count() == 1 && scale.count() == 1;  // scalar or [1]
  if (!both_one && !(run.input(2).dims == scale)) {
    fail("zero points of shape {} for scales of {}", to_string(run.input(2).dims),
         to_string(scale));
  }
  return numbers_of(run.input(2));
}

struct Range {
  double low, high;
};

std::optional<Range> range_of(DType dtype) {
  switch (dtype) {
    case DType::kU16:
      return Range{0, 65535};
    case DType::kI16:
      return Range{-32768, 32767};
    case DType::kU8:
      return Range{0, 255};
    case DType::kI8:
      return Range{-128, 127};
    case DType::kU4:
      return Range{0, 15};
    case DType::kI4:
      return Range{-8, 7};
    case DType::kU2:
      return Range{0, 3};
    case DType::kI2:
      return Range{-2, 1};
    default:
      return std::nullopt;
  }
}

// What f32 becomes in a type that quotients and products are rounded to.
float rounded_to(DType dtype, float value) {
  if (dtype == DType::kF16) return f32_from_f16(f16_from_f32(value));
  if (dtype == DType::kBF16) return f32_from_bf16(bf16_from_f32(value));
  return value;
}

// To nearest even, NaN to the zero point.
double quantized(double quotient, double zero, Range range) {
  if (quotient != quotient) return zero;
  return std::clamp(std::nearbyint(quotient) + zero, range.low, range.high);
}

void store(const TensorView& y, size_t element, double value) {
  if (y.dtype == DType::kU16 || y.dtype == DType::kI16) {
    y.data<uint16_t>()[element] = static_cast<uint16_t>(static_cast<int32_t>(value));
  } else {
    y.data<uint8_t>()[element] = static_cast<uint8_t>(static_cast<int32_t>(value));
  }
}

struct QuantizeOptions {
  int64_t axis, block;
  bool saturate;
  std::optional<DType> output, precision;

  explicit QuantizeOptions(const Node& node)
      : axis(int_attribute(node, "axis", 1)),
        block(int_attribute(node, "block_size", 0)),
        saturate(int_attribute(node, "saturate", 1) != 0),
        output(type(node, "output_dtype")),
        precision(type(node, "precision")) {}

  // Nothing for 0, the default.
  static std::optional<DType> type(const Node& node, const char* name) {
    const int64_t number = int_attribute(node, name, 0);
    return number == 0 ? std::nullopt : std::optional(dtype_of_onnx(number));
  }

  DType quantized_type(const RunContext& run) const {
    const DType named = output.value_or(DType::kU8);
    if (!run.has_input(2)) return named;
    const DType zero = run.input(2).dtype;
    if (output && zero != named) {
      fail("output_dtype is {}, the zero point {}", name_of(named), name_of(zero));
    }
    return zero;
  }
};

void quantize(RunContext& run, const QuantizeOptions& options) {
  const TensorView &x = run.input(0), &scale = run.input(1);
  const DType to = options.quantized_type(run);
  const std::optional<Range> range = range_of(to);
  if (!range && (!is_small_float(to) || to == DType::kF8E8M0)) unsupported_type(to);
  const DType precision = options.precision.value_or(scale.dtype);
  if (precision == DType::kF64) unsupported("precision {} is not supported", name_of(precision));
  const Grain grain = grain_of(x.dims, scale.dims, options.axis, options.block);
  const std::vector<double> scales = numbers_of(scale), zeros = zeros_of(run, scale.dims);
  const TensorView y = run.output(0, to, x.dims);
  with_numbers(x, [&](const auto& at) {
    for_elements(grain, [&](size_t element, size_t param) {
      const float divisor = rounded_to(precision, static_cast<float>(scales[param]));
      const float value = rounded_to(precision, static_cast<float>(at(element)));
      const double quotient = rounded_to(precision, value / divisor);
      if (range) {
        store(y, element, quantized(quotient, zeros[param], *range));
      } else {
        y.data<uint8_t>()[element] = small_from(to, quotient + zeros[param], options.saturate);
      }
    });
  });
}

Run prepare_quantize(const PrepareContext& context) {
  return [options = QuantizeOptions(context.node)](RunContext& run) { quantize(run, options); };
}

// y = (x - zero point) * scale, in f32, stored as the output's type.
void dequantize(RunContext& run, const QuantizeOptions& options) {
  const TensorView &x = run.input(0), &scale = run.input(1);
  if (run.has_input(2) && run.input(2).dtype != x.dtype) {
    fail("zero points are {}, the values {}", name_of(run.input(2).dtype), name_of(x.dtype));
  }
  if (!range_of(x.dtype) && !is_small_float(x.dtype) && x.dtype != DType::kI32) {
    unsupported_type(x.dtype);
  }
  const Grain grain = grain_of(x.dims, scale.dims, options.axis, options.block);
  const std::vector<double> scales = numbers_of(scale), zeros = zeros_of(run, scale.dims);
  const TensorView y = run.output(0, options.output.value_or(scale.dtype), x.dims);
  const auto dequantize_to = [&](auto store_one) {
    with_numbers(x, [&](const auto& at) {
      for_elements(grain, [&](size_t element, size_t param) {
        const auto shifted = static_cast<float>(static_cast<double>(at(element)) - zeros[param]);
        store_one(element, shifted * static_cast<float>(scales[param]));
      });
    });
  };
  switch (y.dtype) {
    case DType::kF32:
      return dequantize_to([to = y.data<float>()](size_t i, float value) { to[i] = value; });
    case DType::kF16:
      return dequantize_to(
          [to = y.data<uint16_t>()](size_t i, float value) { to[i] = f16_from_f32(value); });
    case DType::kBF16:
      return dequantize_to(
          [to = y.data<uint16_t>()](size_t i, float value) { to[i] = bf16_from_f32(value); });
    default:
      unsupported_type(y.dtype);
  }
}

Run prepare_dequantize(const PrepareContext& context) {
  return [options = QuantizeOptions(context.node)](RunContext& run) { dequantize(run, options); };
}

// To u8, with scale and zero point from the range of the values and 0.
Run prepare_dynamic(const PrepareContext&) {
  return [](RunContext& run) {
    const float* from = f32_of(run, 0);
    const size_t count = run.input(0).count();
    float low = 0, high = 0;
    for (size_t i = 0; i < count; ++i) {
      low = std::min(low, from[i]);
      high = std::max(high, from[i]);
    }
    const Range range = *range_of(DType::kU8);
    const float scale = (high == low ? 1.0F : high - low) / static_cast<float>(range.high);
    const double zero = quantized(static_cast<double>(-low / scale), 0, range);
    const TensorView y = run.output(0, DType::kU8, run.input(0).dims);
    for (size_t i = 0; i < count; ++i) store(y, i, quantized(from[i] / scale, zero, range));
    if (run.wants_output(1)) *f32_output(run, 1, {}) = scale;
    if (run.wants_output(2)) store(run.output(2, DType::kU8, {}), 0, zero);
  };
}

}  // namespace

constinit const Operator quantize_linear_operator{.name = "QuantizeLinear",
                                                  .prepare = prepare_quantize};
constinit const Operator dequantize_linear_operator{.name = "DequantizeLinear",
                                                    .prepare = prepare_dequantize};
constinit const Operator dynamic_quantize_linear_operator{.name = "DynamicQuantizeLinear",
                                                          .prepare = prepare_dynamic};

}  // namespace espalier
