#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "lib/tensor/dtype.h"

namespace espalier {

/// Bit patterns of elements whose bytes may lie unaligned (views of a mapped file); compiles to
/// plain loads and stores.
template <typename T>
T load_bits(const std::byte* elements, size_t index) {
  T bits;
  std::memcpy(&bits, elements + index * sizeof(T), sizeof(T));
  return bits;
}

template <typename T>
void store_bits(std::byte* elements, size_t index, T bits) {
  std::memcpy(elements + index * sizeof(T), &bits, sizeof(T));
}

/// Whether the bits of a float, or of several laid over each other, are those of zeros of either
/// sign.
template <typename T>
constexpr bool is_zero(T bits) {
  return static_cast<T>(bits << 1) == 0;
}

/// Calls body(T{}) with the unsigned integer as wide as the packable type: uint32_t for f32,
/// uint16_t for f16 and bf16.
template <typename Body>
auto with_bits_of(DType dtype, const Body& body) {
  return dtype == DType::kF32 ? body(uint32_t{}) : body(uint16_t{});
}

}  // namespace espalier
