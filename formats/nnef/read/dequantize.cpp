#include "formats/nnef/read/dequantize.h"

#include <fmt/format.h>

#include <cmath>

#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

// A parameter that is one number, or one for each slice along some axes.
class Parameter {
 public:
  Parameter(const Call& call, std::string_view name, const Shape& items) {
    const TensorRef given = call.tensor(name, DType::kF64);
    if (given.constant == nullptr || given.constant->dense() == nullptr) {
      call.fail(fmt::format("{} must be a number or an array of numbers", name));
    }
    const Tensor values = given.constant->dense()->aligned();
    values_.assign(values.data<double>().begin(), values.data<double>().end());
    const Shape& shape = given.constant->shape;
    bool fits = shape.size() <= items.size();
    for (size_t i = 0; fits && i < shape.size(); ++i) fits = shape[i] == 1 || shape[i] == items[i];
    if (!fits) {
      call.fail(
          fmt::format("{} is {} for a tensor of {}", name, to_string(shape), to_string(items)));
    }
    // How many items in a row share a place of each axis, and how far apart its values are.
    size_t inner = element_count(items), step = values_.size();
    for (size_t i = 0; i < shape.size(); ++i) {
      const auto extent = static_cast<size_t>(items[i]);
      inner = extent == 0 ? 0 : inner / extent;
      step /= std::max<size_t>(1, static_cast<size_t>(shape[i]));
      if (shape[i] != 1) axes_.push_back({inner, extent, step});
    }
  }

  double at(size_t item) const {
    size_t place = 0;
    for (const Axis& axis : axes_) place += item / axis.inner % axis.extent * axis.step;
    return values_[place];
  }

 private:
  struct Axis {
    size_t inner, extent, step;
  };
  std::vector<double> values_;
  std::vector<Axis> axes_;
};

int64_t checked_bits(const Call& call, DType dtype) {
  const int64_t bits = call.integer("bits");
  const auto most = static_cast<int64_t>(bits_of(dtype));
  if (bits < 1 || bits > most) {
    call.fail(fmt::format("bits is {}, the items have {}", bits, most));
  }
  return bits;
}

bool is_signed(DType dtype) { return dtype >= DType::kI8 && dtype <= DType::kI64; }

// Stored items are read once, one after another, and written as f32.
template <typename Formula>
Tensor converted(const Tensor& stored, const Formula& formula) {
  Tensor result = Tensor::zeros(DType::kF32, stored.shape());
  const std::span<float> values = result.mutable_data<float>();
  const std::vector<int64_t> items = to_i64(stored);
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = formula(static_cast<double>(items[i]), i);
  }
  return result;
}

// In f32 from the difference on, as the operation itself computes.
Tensor from_zero_point(const Call& call, const Tensor& stored) {
  checked_bits(call, stored.dtype());
  const Parameter zero_point(call, "zero_point", stored.shape());
  const Parameter scale(call, "scale", stored.shape());
  return converted(stored, [&](double item, size_t i) {
    return static_cast<float>(item - zero_point.at(i)) * static_cast<float>(scale.at(i));
  });
}

Tensor from_range(const Call& call, const Tensor& stored, bool has_sign, bool is_symmetric) {
  const int64_t bits = checked_bits(call, stored.dtype());
  const Parameter min(call, "min", stored.shape()), max(call, "max", stored.shape());
  const double steps = std::ldexp(1.0, static_cast<int>(bits)) - 1 - (has_sign && is_symmetric);
  const double lowest =
      has_sign ? std::ldexp(1.0, static_cast<int>(bits) - 1) - (is_symmetric ? 1 : 0) : 0.0;
  if (steps <= 0) call.fail(fmt::format("bits is {}, which leaves no quantization step", bits));
  return converted(stored, [&](double item, size_t i) {
    return static_cast<float>((item + lowest) / steps * (max.at(i) - min.at(i)) + min.at(i));
  });
}

}  // namespace

ConstantPtr dequantized(const Call& call, const ConstantPtr& stored) {
  const Tensor& items = *stored->dense();
  if (items.dtype() == DType::kBool) call.fail("logicals cannot be quantized values");
  call.reading.budget.spend(items.count() / 64);
  const std::string& name = call.declaration.name;
  Tensor values;
  if (name == "zero_point_linear_quantize") {
    values = from_zero_point(call, items);
  } else if (name == "min_max_linear_quantize") {
    values = from_range(call, items, call.logical("signed"), call.logical("symmetric"));
  } else if (name == "linear_quantize") {
    values = from_range(call, items, is_signed(items.dtype()), false);
  } else {
    throw Error(Fault::kUnsupported, fmt::format("{}:{}: {} of stored integers is not supported",
                                                 call.at.line, call.at.column, printable(name)));
  }
  const ConstantPtr result = make_constant(stored->name, std::move(values));
  result->has_label = stored->has_label;
  return result;
}

}  // namespace espalier::nnef
