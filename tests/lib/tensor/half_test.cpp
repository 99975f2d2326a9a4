#include "lib/tensor/half.h"

#include <doctest/doctest.h>

#include <cmath>

namespace espalier {
namespace {

// A half's value from its fields, by the formula of IEEE 754.
double value_of_f16(uint16_t bits) {
  const int exponent = (bits >> 10) & 31, mantissa = bits & 0x3FF;
  const double sign = (bits & 0x8000) != 0 ? -1 : 1;
  if (exponent == 0) return sign * mantissa * 0x1p-24;
  return sign * std::ldexp(1024 + mantissa, exponent - 25);
}

TEST_CASE("every half comes back from f32 with the bits it had, and means what IEEE 754 says") {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float wide = f32_from_f16(half);
    if ((bits & 0x7C00) == 0x7C00 && (bits & 0x3FF) != 0) {
      if (!std::isnan(wide) || (f16_from_f32(wide) & 0x3FF) == 0) FAIL("NaN " << bits);
      continue;
    }
    if (f16_from_f32(wide) != half) FAIL("bits " << bits);
    if ((bits & 0x7C00) != 0x7C00 && wide != value_of_f16(half)) FAIL("value " << bits);
  }
  CHECK(std::isinf(f32_from_f16(0x7C00)));
}

TEST_CASE("halfway between two halves the even one is taken, beside it the nearer") {
  for (uint32_t bits = 0; bits < 0x7BFF; ++bits) {
    const auto low = static_cast<uint16_t>(bits), high = static_cast<uint16_t>(bits + 1);
    const auto middle = static_cast<float>((value_of_f16(low) + value_of_f16(high)) / 2);
    if (f16_from_f32(middle) != (low % 2 == 0 ? low : high)) FAIL("tie above " << bits);
    if (f16_from_f32(std::nextafter(middle, 0.0F)) != low) FAIL("below the tie above " << bits);
    if (f16_from_f32(std::nextafter(middle, 1e9F)) != high) FAIL("above the tie above " << bits);
  }
  CHECK(f16_from_f32(65519.0F) == 0x7BFF);
  CHECK(f16_from_f32(65520.0F) == 0x7C00);
  CHECK(f16_from_f32(-1e30F) == 0xFC00);
  CHECK(f16_from_f32(1e-30F) == 0);
}

TEST_CASE("bfloat16 rounds to nearest even and keeps NaN") {
  for (uint32_t bits = 0; bits < 0x7F80; ++bits) {
    const auto low = static_cast<uint16_t>(bits), high = static_cast<uint16_t>(bits + 1);
    if (bf16_from_f32(f32_from_bf16(low)) != low) FAIL("bits " << bits);
    const auto tie = std::bit_cast<float>(bits << 16 | 0x8000);
    if (bf16_from_f32(tie) != (low % 2 == 0 ? low : high)) FAIL("tie above " << bits);
    if (bf16_from_f32(std::bit_cast<float>(bits << 16 | 0x7FFF)) != low) FAIL("below " << bits);
    if (bf16_from_f32(std::bit_cast<float>(bits << 16 | 0x8001)) != high) FAIL("above " << bits);
  }
  // A NaN whose upper bits alone would be infinity.
  CHECK(std::isnan(f32_from_bf16(bf16_from_f32(std::bit_cast<float>(0x7F800001U)))));
}

}  // namespace
}  // namespace espalier
