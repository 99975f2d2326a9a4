// Cast, CastLike, BitCast.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "lib/ops/elements.h"
#include "lib/ops/op_util.h"

namespace espalier {

DType dtype_of_onnx(int64_t type) {
  switch (type) {
    case 1:
      return DType::kF32;
    case 2:
      return DType::kU8;
    case 3:
      return DType::kI8;
    case 4:
      return DType::kU16;
    case 5:
      return DType::kI16;
    case 6:
      return DType::kI32;
    case 7:
      return DType::kI64;
    case 9:
      return DType::kBool;
    case 10:
      return DType::kF16;
    case 11:
      return DType::kF64;
    case 12:
      return DType::kU32;
    case 13:
      return DType::kU64;
    case 16:
      return DType::kBF16;
    case 17:
      return DType::kF8E4M3FN;
    case 18:
      return DType::kF8E4M3FNUZ;
    case 19:
      return DType::kF8E5M2;
    case 20:
      return DType::kF8E5M2FNUZ;
    case 21:
      return DType::kU4;
    case 22:
      return DType::kI4;
    case 23:
      return DType::kF4E2M1;
    case 24:
      return DType::kF8E8M0;
    case 25:
      return DType::kU2;
    case 26:
      return DType::kI2;
    default:
      unsupported("casting to ONNX type {} is not supported", type);
  }
}

namespace {

// How values become those of small types.
struct SmallOptions {
  bool saturate = true;
  PowerRounding rounding = PowerRounding::kUp;

  explicit SmallOptions(const Node& node) : saturate(int_attribute(node, "saturate", 1) != 0) {
    const std::string mode = string_attribute(node, "round_mode", "up");
    if (mode == "down") {
      rounding = PowerRounding::kDown;
    } else if (mode == "nearest") {
      rounding = PowerRounding::kNearest;
    } else if (mode != "up") {
      fail("round_mode is {}, expected up, down or nearest", printable(mode));
    }
  }
};

template <typename From>
uint8_t to_small(DType to, From value, const SmallOptions& options) {
  if (is_sub_byte_int(to)) {
    return static_cast<uint8_t>(wrapped_to(to, from_number<int64_t>(value)));
  }
  const auto wide = static_cast<double>(value);
  return to == DType::kF8E8M0 ? e8m0_from(wide, options.rounding, options.saturate)
                              : small_from(to, wide, options.saturate);
}

void cast(RunContext& run, DType to, const SmallOptions& options) {
  const TensorView& x = run.input(0);
  if (x.dtype == to) return run.alias(0, 0, x.dims);
  const TensorView y = run.output(0, to, x.dims);
  const size_t count = x.count();
  with_numbers(x, [&](const auto& at) {
    if (is_small(to)) {
      auto* result = y.data<uint8_t>();
      for (size_t i = 0; i < count; ++i) result[i] = to_small(to, at(i), options);
      return;
    }
    with_element(to, [&](auto to_zero) {
      auto* result = y.data<decltype(to_zero)>();
      for (size_t i = 0; i < count; ++i) result[i] = from_number<decltype(to_zero)>(at(i));
    });
  });
}

Run prepare_cast(const PrepareContext& context) {
  const DType to = dtype_of_onnx(int_attribute(context.node, "to", 0));
  return [to, options = SmallOptions(context.node)](RunContext& run) { cast(run, to, options); };
}

Run prepare_cast_like(const PrepareContext& context) {
  return [options = SmallOptions(context.node)](RunContext& run) {
    cast(run, run.input(1).dtype, options);
  };
}

// The same bits under another type of equal width.
Run prepare_bit_cast(const PrepareContext& context) {
  const DType to = dtype_of_onnx(int_attribute(context.node, "to", 0));
  return [to](RunContext& run) {
    const TensorView& x = run.input(0);
    if (bits_of(x.dtype) != bits_of(to) || is_sub_byte(to)) {
      unsupported("casting the bits of {} to {} is not supported", name_of(x.dtype), name_of(to));
    }
    const TensorView y = run.output(0, to, x.dims);
    if (x.count() != 0) std::memcpy(y.bytes, x.bytes, x.count() * bytes_in_view(to));
  };
}

}  // namespace

constinit const Operator cast_operator{.name = "Cast", .prepare = prepare_cast};
constinit const Operator cast_like_operator{.name = "CastLike", .prepare = prepare_cast_like};
constinit const Operator bit_cast_operator{.name = "BitCast", .prepare = prepare_bit_cast};

}  // namespace espalier
