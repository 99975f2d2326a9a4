#include "lib/tensor/small_types.h"

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "lib/tensor/tensor.h"

namespace espalier {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr std::array kFloats{DType::kF8E4M3FN, DType::kF8E4M3FNUZ, DType::kF8E5M2,
                             DType::kF8E5M2FNUZ, DType::kF4E2M1};

int codes_of(DType dtype) { return 1 << bits_of(dtype); }

// The finite values of a type, with their codes.
std::vector<std::pair<double, uint8_t>> finite_values(DType dtype) {
  std::vector<std::pair<double, uint8_t>> result;
  for (int code = 0; code < codes_of(dtype); ++code) {
    const double value = f32_from_small(dtype, static_cast<uint8_t>(code));
    if (std::isfinite(value)) result.emplace_back(value, static_cast<uint8_t>(code));
  }
  return result;
}

TEST_CASE("small floats mean what their papers' tables say") {
  CHECK(f32_from_small(DType::kF8E4M3FN, 0x7E) == 448);
  CHECK(f32_from_small(DType::kF8E4M3FN, 0x01) == std::ldexp(1.0F, -9));
  CHECK(f32_from_small(DType::kF8E4M3FN, 0xB8) == -1);
  CHECK(std::isnan(f32_from_small(DType::kF8E4M3FN, 0xFF)));
  CHECK(f32_from_small(DType::kF8E4M3FNUZ, 0x7F) == 240);
  CHECK(f32_from_small(DType::kF8E4M3FNUZ, 0x01) == std::ldexp(1.0F, -10));
  CHECK(std::isnan(f32_from_small(DType::kF8E4M3FNUZ, 0x80)));
  CHECK(f32_from_small(DType::kF8E5M2, 0x7B) == 57344);
  CHECK(f32_from_small(DType::kF8E5M2, 0x01) == std::ldexp(1.0F, -16));
  CHECK(f32_from_small(DType::kF8E5M2, 0xFC) == -std::numeric_limits<float>::infinity());
  CHECK(std::isnan(f32_from_small(DType::kF8E5M2, 0x7D)));
  CHECK(f32_from_small(DType::kF8E5M2FNUZ, 0x7F) == 57344);
  CHECK(f32_from_small(DType::kF8E5M2FNUZ, 0x01) == std::ldexp(1.0F, -17));
  const std::array<float, 8> halves{0, 0.5F, 1, 1.5F, 2, 3, 4, 6};
  for (uint8_t code = 0; code < 8; ++code) {
    CHECK(f32_from_small(DType::kF4E2M1, code) == halves[code]);
    CHECK(f32_from_small(DType::kF4E2M1, code | 8) == -halves[code]);
  }
  CHECK(f32_from_small(DType::kF8E8M0, 0) == std::ldexp(1.0F, -127));
  CHECK(f32_from_small(DType::kF8E8M0, 254) == std::ldexp(1.0F, 127));
  CHECK(std::isnan(f32_from_small(DType::kF8E8M0, 255)));
}

TEST_CASE("a value becomes the nearest of a small float's values, of two the one of even code") {
  for (const DType dtype : kFloats) {
    CAPTURE(name_of(dtype));
    const auto values = finite_values(dtype);
    double largest = 0;
    for (const auto& [value, code] : values) largest = std::max(largest, value);
    // The values, points between and beside their middles, of both signs.
    std::vector<double> wanted;
    for (const auto& [a, code] : values) {
      wanted.push_back(a);
      for (const auto& [b, other] : values) {
        if (b != a && std::fabs(a - b) <= std::fabs(a)) {
          for (const double shift : {1.0, 1 - 0x1p-20, 1 + 0x1p-20})
            wanted.push_back((a + b) / 2 * shift);
        }
      }
    }
    for (const double x : wanted) {
      if (std::fabs(x) > largest) continue;
      double best = kInfinity;
      for (const auto& [value, code] : values) best = std::min(best, std::fabs(value - x));
      const uint8_t got = small_from(dtype, x, false);
      const double back = f32_from_small(dtype, got);
      if (std::fabs(back - x) != best) FAIL(x << " became " << back);
      for (const auto& [value, code] : values) {
        const bool tie = value != back && std::fabs(value - x) == best;
        if (tie && got % 2 != 0) FAIL(x << " became the odd " << back);
      }
    }
  }
}

TEST_CASE("what is past the largest value follows ONNX's tables of Cast") {
  const auto become = [](DType dtype, double value, bool saturate) {
    return static_cast<double>(f32_from_small(dtype, small_from(dtype, value, saturate)));
  };
  for (const double sign : {1.0, -1.0}) {
    for (const double value : {1e6, 1e300, kInfinity}) {
      CHECK(become(DType::kF8E4M3FN, sign * value, true) == sign * 448);
      CHECK(become(DType::kF8E4M3FNUZ, sign * value, true) == sign * 240);
      CHECK(become(DType::kF8E5M2, sign * value, true) == sign * 57344);
      CHECK(become(DType::kF8E5M2FNUZ, sign * value, true) == sign * 57344);
      CHECK(std::isnan(become(DType::kF8E4M3FN, sign * value, false)));
      CHECK(std::isnan(become(DType::kF8E4M3FNUZ, sign * value, false)));
      CHECK(become(DType::kF8E5M2, sign * value, false) == sign * kInfinity);
      CHECK(std::isnan(become(DType::kF8E5M2FNUZ, sign * value, false)));
      CHECK(become(DType::kF4E2M1, sign * value, false) == sign * 6);
    }
  }
  for (const bool saturate : {false, true}) {
    for (const DType dtype : kFloats) {
      CHECK(std::isnan(become(dtype, kNaN, saturate)) == (dtype != DType::kF4E2M1));
    }
  }
  CHECK(small_from(DType::kF8E4M3FN, -0.0, true) == 0x80);
  CHECK(small_from(DType::kF8E5M2, -1e-30, true) == 0x80);
  CHECK(small_from(DType::kF8E4M3FNUZ, -0.0, true) == 0);
  CHECK(small_from(DType::kF8E5M2FNUZ, -1e-30, true) == 0);
  CHECK(become(DType::kF8E4M3FN, 464, false) == 448);  // a tie that rounds to the largest
}

TEST_CASE("f8e8m0 takes the power of two above, below or nearest") {
  const auto exponent = [](double value, PowerRounding rounding) {
    return static_cast<int>(e8m0_from(value, rounding, true)) - 127;
  };
  CHECK(exponent(1.1, PowerRounding::kUp) == 1);
  CHECK(exponent(2, PowerRounding::kUp) == 1);
  CHECK(exponent(1.9, PowerRounding::kDown) == 0);
  CHECK(exponent(1.4, PowerRounding::kNearest) == 0);
  CHECK(exponent(1.6, PowerRounding::kNearest) == 1);
  CHECK(exponent(0, PowerRounding::kUp) == -127);
  CHECK(exponent(1e300, PowerRounding::kUp) == 127);
  CHECK(exponent(kInfinity, PowerRounding::kNearest) == 127);
  CHECK(e8m0_from(0, PowerRounding::kNearest, false) == 0xFF);
  CHECK(e8m0_from(kInfinity, PowerRounding::kUp, false) == 0xFF);
  CHECK(e8m0_from(kNaN, PowerRounding::kUp, true) == 0xFF);
}

TEST_CASE("joined elements lie from the low bits up, and come back with their sign") {
  const std::array<std::byte, 3> bytes{std::byte{0x1F}, std::byte{0x78}, std::byte{0x09}};
  std::vector<uint8_t> elements(5);
  spread_sub_bytes(DType::kI4, bytes, elements);
  CHECK(elements == std::vector<uint8_t>{0xFF, 1, 0xF8, 7, 0xF9});  // -1 1 -8 7 -7
  std::array<std::byte, 3> again{};
  join_sub_bytes(DType::kI4, elements, again);
  CHECK(again == bytes);
  spread_sub_bytes(DType::kU4, bytes, elements);
  CHECK(elements == std::vector<uint8_t>{15, 1, 8, 7, 9});

  const Tensor twos(DType::kI2, {5}, Bytes(bytes).first(2), nullptr);  // 3 3 1 0 | 0
  CHECK(to_i64(twos) == std::vector<int64_t>{-1, -1, 1, 0, 0});
  const Tensor halves(DType::kF4E2M1, {3}, Bytes(bytes).first(2), nullptr);  // F 1 8
  CHECK(to_f32(halves) == std::vector<float>{-6, 0.5F, 0});
  CHECK(wrapped_to(DType::kI4, 9) == -7);
  CHECK(wrapped_to(DType::kU2, -3) == 1);
  CHECK(wrapped_to(DType::kI2, 2) == -2);
}

}  // namespace
}  // namespace espalier
