#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace espalier {

/// Element types. The first block is computed with; the second is only carried, bit for bit.
enum class DType : uint8_t {
  kF32,
  kF64,
  kF16,
  kBF16,
  kI8,
  kI16,
  kI32,
  kI64,
  kU8,
  kU16,
  kU32,
  kU64,
  kBool,
  kString,  // elements one after another: u32 length, bytes
  kComplex64,
  kComplex128,
  kF8E4M3FN,
  kF8E4M3FNUZ,
  kF8E5M2,
  kF8E5M2FNUZ,
  kF8E8M0,
  kU4,
  kI4,
  kF4E2M1,
  kU2,
  kI2,
  kF6E2M3,
  kF6E3M2,
  kUnknown,
};

/// "f32", "i64", "bool", "f8e4m3fn", ...
std::string_view name_of(DType dtype);

/// Bits of one element; 0 for strings and unknown types. Elements below 8 bits share bytes,
/// the first in the low bits.
size_t bits_of(DType dtype);

/// Bytes of one element of the types that fill whole bytes. A sub-byte, string or unknown type
/// is a bug.
size_t bytes_of(DType dtype);

bool is_float(DType dtype);  ///< f64, f32, f16, bf16

template <typename T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() {
  return DType::kF32;
}
template <>
constexpr DType dtype_of<double>() {
  return DType::kF64;
}
template <>
constexpr DType dtype_of<int8_t>() {
  return DType::kI8;
}
template <>
constexpr DType dtype_of<int16_t>() {
  return DType::kI16;
}
template <>
constexpr DType dtype_of<int32_t>() {
  return DType::kI32;
}
template <>
constexpr DType dtype_of<int64_t>() {
  return DType::kI64;
}
template <>
constexpr DType dtype_of<uint8_t>() {
  return DType::kU8;
}
template <>
constexpr DType dtype_of<uint16_t>() {
  return DType::kU16;
}
template <>
constexpr DType dtype_of<uint32_t>() {
  return DType::kU32;
}
template <>
constexpr DType dtype_of<uint64_t>() {
  return DType::kU64;
}
template <>
constexpr DType dtype_of<bool>() {
  return DType::kBool;
}

}  // namespace espalier
