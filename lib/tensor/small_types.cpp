#include "lib/tensor/small_types.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "lib/base/check.h"
#include "lib/base/checked_math.h"

namespace espalier {
namespace {

// A float with sign, exponent and mantissa. Codes without their sign: `largest` is the largest
// finite value, `infinity` and `nan` are 0 where the type has none.
struct Layout {
  int mantissa_bits, bias;
  uint8_t sign, largest, infinity, nan;
  bool unsigned_zero;  // NaN is the code of -0
};

Layout layout_of(DType dtype) {
  switch (dtype) {
    case DType::kF8E4M3FN:
      return {3, 7, 0x80, 0x7E, 0, 0x7F, false};
    case DType::kF8E4M3FNUZ:
      return {3, 8, 0x80, 0x7F, 0, 0x80, true};
    case DType::kF8E5M2:
      return {2, 15, 0x80, 0x7B, 0x7C, 0x7E, false};
    case DType::kF8E5M2FNUZ:
      return {2, 16, 0x80, 0x7F, 0, 0x80, true};
    default:
      ESPALIER_CHECK(dtype == DType::kF4E2M1);
      return {1, 1, 0x08, 0x07, 0, 0, false};
  }
}

constexpr int kE8M0Bias = 127;
constexpr uint8_t kE8M0NaN = 0xFF, kE8M0Largest = 0xFE;

bool is_signed_int(DType dtype) { return dtype == DType::kI4 || dtype == DType::kI2; }

}  // namespace

bool is_small_float(DType dtype) {
  switch (dtype) {
    case DType::kF8E4M3FN:
    case DType::kF8E4M3FNUZ:
    case DType::kF8E5M2:
    case DType::kF8E5M2FNUZ:
    case DType::kF8E8M0:
    case DType::kF4E2M1:
      return true;
    default:
      return false;
  }
}

bool is_sub_byte_int(DType dtype) {
  return dtype == DType::kU4 || dtype == DType::kI4 || dtype == DType::kU2 || dtype == DType::kI2;
}

bool is_sub_byte(DType dtype) { return is_sub_byte_int(dtype) || dtype == DType::kF4E2M1; }

float f32_from_small(DType dtype, uint8_t bits) {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  if (dtype == DType::kF8E8M0) {
    return bits == kE8M0NaN ? kNaN : std::ldexp(1.0F, static_cast<int>(bits) - kE8M0Bias);
  }
  const Layout layout = layout_of(dtype);
  if (layout.unsigned_zero && bits == layout.nan) return kNaN;
  const auto magnitude = static_cast<uint8_t>(bits & (layout.sign - 1));
  float value = 0;
  if (magnitude > layout.largest) {
    value = magnitude == layout.infinity ? std::numeric_limits<float>::infinity() : kNaN;
  } else {
    const int exponent = magnitude >> layout.mantissa_bits;
    const int mantissa = magnitude & ((1 << layout.mantissa_bits) - 1);
    const int hidden = exponent == 0 ? 0 : 1 << layout.mantissa_bits;
    value = std::ldexp(static_cast<float>(hidden + mantissa),
                       std::max(exponent, 1) - layout.bias - layout.mantissa_bits);
  }
  return (bits & layout.sign) != 0 ? -value : value;
}

uint8_t small_from(DType dtype, double value, bool saturate) {
  if (dtype == DType::kF8E8M0) return e8m0_from(value, PowerRounding::kUp, saturate);
  const Layout layout = layout_of(dtype);
  const uint8_t sign = std::signbit(value) ? layout.sign : 0;
  if (std::isnan(value)) {
    if (dtype == DType::kF4E2M1) return layout.sign;
    return layout.unsigned_zero ? layout.nan : static_cast<uint8_t>(sign | layout.nan);
  }
  const double magnitude = std::fabs(value);
  // From here on `code` may pass every code of the type; beyond 2^20 all do.
  int code = 0x100;
  if (magnitude < 0x1p20) {
    const int least = 1 - layout.bias;
    const int exponent = magnitude == 0 ? least : std::max(std::ilogb(magnitude), least);
    // In units of the last place: an integer that carries into the exponent where it rounds up.
    const double places = std::nearbyint(std::ldexp(magnitude, layout.mantissa_bits - exponent));
    code = static_cast<int>(places) + ((exponent - least) << layout.mantissa_bits);
  }
  if (code > layout.largest) {
    if (saturate || dtype == DType::kF4E2M1) return static_cast<uint8_t>(sign | layout.largest);
    if (layout.unsigned_zero) return layout.nan;
    return static_cast<uint8_t>(sign | (layout.infinity != 0 ? layout.infinity : layout.nan));
  }
  if (code == 0 && layout.unsigned_zero) return 0;
  return static_cast<uint8_t>(sign | code);
}

uint8_t e8m0_from(double value, PowerRounding rounding, bool saturate) {
  if (std::isnan(value)) return kE8M0NaN;
  const double magnitude = std::fabs(value);
  int exponent = -kE8M0Bias - 1;
  if (std::isinf(magnitude)) {
    exponent = kE8M0Bias + 1;
  } else if (magnitude >= 0x1p-200) {
    exponent = std::ilogb(magnitude);
    const double fraction = std::ldexp(magnitude, -exponent);  // 1 to 2
    const bool up = rounding == PowerRounding::kUp        ? fraction > 1
                    : rounding == PowerRounding::kNearest ? fraction >= 1.5
                                                          : false;
    exponent += up ? 1 : 0;
  }
  if (exponent < -kE8M0Bias) return saturate ? 0 : kE8M0NaN;
  if (exponent > kE8M0Bias) return saturate ? kE8M0Largest : kE8M0NaN;
  return static_cast<uint8_t>(exponent + kE8M0Bias);
}

int8_t wrapped_to(DType sub_byte_int, int64_t value) {
  const int unused = 8 - static_cast<int>(bits_of(sub_byte_int));
  const auto high = static_cast<uint8_t>(static_cast<uint64_t>(value) << unused);
  return is_signed_int(sub_byte_int) ? static_cast<int8_t>(static_cast<int8_t>(high) >> unused)
                                     : static_cast<int8_t>(high >> unused);
}

void spread_sub_bytes(DType dtype, Bytes joined, std::span<uint8_t> elements) {
  ESPALIER_CHECK(is_sub_byte(dtype));
  const size_t bits = bits_of(dtype), per_byte = 8 / bits;
  ESPALIER_CHECK(joined.size() == ceil_div(elements.size(), per_byte));
  const unsigned mask = (1U << bits) - 1;
  for (size_t i = 0; i < elements.size(); ++i) {
    const unsigned raw = static_cast<unsigned>(joined[i / per_byte]) >> i % per_byte * bits & mask;
    elements[i] = static_cast<uint8_t>(is_sub_byte_int(dtype) ? wrapped_to(dtype, raw) : raw);
  }
}

void join_sub_bytes(DType dtype, std::span<const uint8_t> elements, std::span<std::byte> joined) {
  ESPALIER_CHECK(is_sub_byte(dtype));
  const size_t bits = bits_of(dtype), per_byte = 8 / bits;
  ESPALIER_CHECK(joined.size() == ceil_div(elements.size(), per_byte));
  std::ranges::fill(joined, std::byte{0});
  const unsigned mask = (1U << bits) - 1;
  for (size_t i = 0; i < elements.size(); ++i) {
    joined[i / per_byte] |= static_cast<std::byte>((elements[i] & mask) << i % per_byte * bits);
  }
}

}  // namespace espalier
