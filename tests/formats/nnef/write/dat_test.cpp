#include "formats/nnef/write/dat.h"

#include <doctest/doctest.h>

#include <array>
#include <string>

#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

uint32_t word(const std::string& bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 4; i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  return value;
}

std::string dat_bytes(const Tensor& tensor) {
  return dat_header(tensor.dtype(), tensor.shape()) + dat_items(tensor);
}

TEST_CASE("a tensor file is 128 bytes of header and the items") {
  const std::string bytes = dat_bytes(Tensor::of<float>({1, 2}, std::array{1.0F, -2.0F}));
  REQUIRE(bytes.size() == 128 + 8);
  CHECK(bytes.substr(0, 4) == std::string("\x4E\xEF\x01\x00", 4));
  CHECK(word(bytes, 4) == 8);   // bytes of items
  CHECK(word(bytes, 8) == 2);   // rank
  CHECK(word(bytes, 12) == 1);  // extents
  CHECK(word(bytes, 16) == 2);
  CHECK(word(bytes, 20) == 0);
  CHECK(word(bytes, 44) == 32);                         // bits per item
  CHECK(word(bytes, 48) == 0);                          // float, Khronos
  CHECK(bytes.find_first_not_of('\0', 52) == 128 + 2);  // nothing up to the 3F800000
  CHECK(word(bytes, 128) == 0x3F800000);
}

TEST_CASE("integers are signed or unsigned, logicals a bit each, the first in the high bit") {
  CHECK(word(dat_bytes(Tensor::of<uint16_t>({1}, std::array<uint16_t, 1>{7})), 48) == 1);
  CHECK(word(dat_bytes(Tensor::of<int64_t>({1}, std::array<int64_t, 1>{-7})), 48) == 4);
  const std::string bits = dat_bytes(Tensor::of<bool>(
      {9}, std::array{true, false, true, false, false, false, false, false, true}));
  CHECK(word(bits, 4) == 2);
  CHECK(word(bits, 44) == 1);
  CHECK(word(bits, 48) == 5);
  CHECK(bits.substr(128) == std::string("\xA0\x80", 2));
}

TEST_CASE("no items and no axes are fine") {
  CHECK(dat_bytes(Tensor::zeros(DType::kF32, {0, 16, 1})).size() == 128);
  const std::string scalar = dat_bytes(Tensor::zeros(DType::kF32, {}));
  CHECK(scalar.size() == 132);
  CHECK(word(scalar, 8) == 0);
}

TEST_CASE("what tensor files do not have is refused") {
  CHECK_THROWS_WITH_AS(dat_header(DType::kBF16, {1}),
                       "bf16 has no item type in NNEF tensor files: store the values as f16 or f32",
                       Error);
  CHECK_THROWS_AS(dat_header(DType::kString, {1}), Error);
  CHECK_THROWS_AS(dat_header(DType::kF32, Shape(9, 1)), Error);
  CHECK_THROWS_AS(dat_header(DType::kF32, {int64_t{1} << 30}), Error);     // 4 GiB of items
  CHECK_THROWS_AS(dat_header(DType::kF32, {0, int64_t{1} << 32}), Error);  // an extent
}

}  // namespace
}  // namespace espalier::nnef
