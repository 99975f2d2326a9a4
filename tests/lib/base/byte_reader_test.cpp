#include "lib/base/byte_reader.h"

#include <doctest/doctest.h>

#include "lib/base/checked_math.h"

namespace espalier {
namespace {

TEST_CASE("fields are read little-endian from the front, and never past the end") {
  ByteReader reader(
      as_bytes(std::string_view("\x01\x02\x03\x04"
                                "ab",
                                6)));
  CHECK(reader.get<uint16_t>("a") == 0x0201);
  CHECK(reader.get<int8_t>("b") == 3);
  CHECK(reader.left() == 3);
  CHECK_THROWS_WITH_AS(reader.get<uint32_t>("length"), "length: expected 4 bytes, found 3", Error);
  CHECK(as_text(reader.take(3, "text")) ==
        "\x04"
        "ab");
  CHECK(as_text(reader.take(0, "nothing")).empty());
  CHECK_THROWS_AS(reader.take(SIZE_MAX, "all"), Error);
}

TEST_CASE("products and sums that do not fit are nothing") {
  CHECK(checked_mul<size_t>(3, 4) == 12);
  CHECK_FALSE(checked_mul<size_t>(SIZE_MAX, 2).has_value());
  CHECK_FALSE(checked_mul<int64_t>(INT64_MIN, -1).has_value());
  CHECK(checked_add<uint8_t>(200, 55) == 255);
  CHECK_FALSE(checked_add<uint8_t>(200, 56).has_value());
  CHECK_FALSE(checked_sub<size_t>(0, 1).has_value());
  CHECK(checked_sub<int64_t>(-1, INT64_MAX) == INT64_MIN);
  CHECK_FALSE(checked_sub<int64_t>(-2, INT64_MAX).has_value());
  CHECK(ceil_div(0, 16) == 0);
  CHECK(ceil_div(17, 16) == 2);
  CHECK(ceil_div(SIZE_MAX, 2) == SIZE_MAX / 2 + 1);
  CHECK(round_up(17, 16) == 32);
}

TEST_CASE("a formula of checked integers has a value only where every step has one") {
  const Checked<uint64_t> large = uint64_t{1} << 40;
  CHECK((large * 3 + 5).value() == (uint64_t{3} << 40) + 5);
  CHECK_FALSE((large * large * 0).value().has_value());  // too large on the way
  CHECK_FALSE((large - large - 1 + 1).value().has_value());
  CHECK((Checked<int64_t>(-5) * 3 - 1).value() == -16);
  CHECK((large * large).value_or(7) == 7);
}

}  // namespace
}  // namespace espalier
