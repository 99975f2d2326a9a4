#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "lib/ops/op_util.h"
#include "lib/tensor/half.h"
#include "lib/tensor/small_types.h"

namespace espalier {

/// Bits of the narrow types as types of their own.
struct F16 {
  uint16_t bits;
};
struct BF16 {
  uint16_t bits;
};
struct Bool {
  uint8_t bits;
};

/// The value that the bits stand for: float, or an integer of their own width.
template <typename T>
auto number(T value) {
  if constexpr (std::is_same_v<T, F16>) {
    return f32_from_f16(value.bits);
  } else if constexpr (std::is_same_v<T, BF16>) {
    return f32_from_bf16(value.bits);
  } else if constexpr (std::is_same_v<T, Bool>) {
    return static_cast<uint8_t>(value.bits != 0);
  } else {
    return value;
  }
}

/// The element nearest to a value: out of range floats saturate, NaN becomes 0; integers wrap
/// around.
template <typename To, typename From>
To from_number(From value) {
  if constexpr (std::is_same_v<To, F16>) {
    return {f16_from_f32(static_cast<float>(value))};
  } else if constexpr (std::is_same_v<To, BF16>) {
    return {bf16_from_f32(static_cast<float>(value))};
  } else if constexpr (std::is_same_v<To, Bool>) {
    return {static_cast<uint8_t>(value != 0)};
  } else if constexpr (std::is_integral_v<To> && std::is_floating_point_v<From>) {
    if (value != value) return 0;
    constexpr auto kAbove = static_cast<double>(std::numeric_limits<To>::max()) + 1.0;
    const auto wide = static_cast<double>(value);
    if (wide >= kAbove) return std::numeric_limits<To>::max();
    if (wide <= static_cast<double>(std::numeric_limits<To>::min()) - 1.0) {
      return std::numeric_limits<To>::min();
    }
    return wide < static_cast<double>(std::numeric_limits<To>::min())
               ? std::numeric_limits<To>::min()
               : static_cast<To>(value);
  } else {
    return static_cast<To>(value);
  }
}

/// Calls body with a value of the type that stands for elements of `dtype` as they lie in a view.
/// Errors  Fault::kUnsupported for strings, complex numbers and small types.
template <typename Body>
void with_element(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::kF32:
      return body(float{});
    case DType::kF64:
      return body(double{});
    case DType::kF16:
      return body(F16{});
    case DType::kBF16:
      return body(BF16{});
    case DType::kI8:
      return body(int8_t{});
    case DType::kI16:
      return body(int16_t{});
    case DType::kI32:
      return body(int32_t{});
    case DType::kI64:
      return body(int64_t{});
    case DType::kU8:
      return body(uint8_t{});
    case DType::kU16:
      return body(uint16_t{});
    case DType::kU32:
      return body(uint32_t{});
    case DType::kU64:
      return body(uint64_t{});
    case DType::kBool:
      return body(Bool{});
    default:
      unsupported_type(dtype);
  }
}

/// Types that Cast reads and writes by tables of their values.
inline bool is_small(DType dtype) { return is_small_float(dtype) || is_sub_byte_int(dtype); }

/// Calls body(at), where at(i) is element i as a number: a float, or an integer of that width.
/// Errors  as with_element, but small types are numbers here.
template <typename Body>
void with_numbers(const TensorView& x, const Body& body) {
  if (is_sub_byte_int(x.dtype)) {
    return body([from = x.data<int8_t>()](size_t i) { return int64_t{from[i]}; });
  }
  if (is_small_float(x.dtype)) {
    std::array<float, 256> values;
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = f32_from_small(x.dtype, static_cast<uint8_t>(i));
    }
    return body([&values, from = x.data<uint8_t>()](size_t i) { return values[from[i]]; });
  }
  with_element(x.dtype, [&](auto zero) {
    body([from = x.data<decltype(zero)>()](size_t i) { return number(from[i]); });
  });
}

}  // namespace espalier
