#include "formats/nnef/read/dat.h"

#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <vector>

#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

struct Dat {
  std::vector<uint32_t> extents = {2, 3};
  uint32_t bits = 32;
  uint16_t type = 0, vendor = 0;
  std::string payload = std::string(24, '\1');
  uint32_t data_bytes = 24;
  uint32_t rank = 2;
  uint32_t offset_52 = 0;
  std::string magic = "\x4e\xef";
  char major = 1;

  std::string bytes() const {
    std::string out = magic + major + '\0';
    const auto put = [&](auto value) {
      out.append(reinterpret_cast<const char*>(&value), sizeof value);
    };
    put(data_bytes);
    put(rank);
    for (size_t i = 0; i < 8; ++i) put(i < extents.size() ? extents[i] : uint32_t{0});
    put(bits);
    put(type);
    put(vendor);
    put(offset_52);
    out.resize(128);
    return out + payload;
  }
  Tensor read() const {
    const auto owner = std::make_shared<std::string>(bytes());
    return read_dat(as_bytes(*owner), owner);
  }
  std::string error() const {
    try {
      read();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
};

TEST_CASE("items of every width and kind are read") {
  struct Case {
    uint16_t type;
    uint32_t bits;
    DType dtype;
  };
  for (const Case& c :
       {Case{0, 16, DType::kF16}, Case{0, 32, DType::kF32}, Case{0, 64, DType::kF64},
        Case{1, 8, DType::kU8}, Case{1, 16, DType::kU16}, Case{1, 32, DType::kU32},
        Case{1, 64, DType::kU64}, Case{2, 8, DType::kU8}, Case{3, 64, DType::kI64},
        Case{3, 16, DType::kI16}, Case{4, 8, DType::kI8}, Case{4, 32, DType::kI32}}) {
    CAPTURE(c.type);
    CAPTURE(c.bits);
    Dat dat{.bits = c.bits, .type = c.type};
    dat.data_bytes = 6 * c.bits / 8;
    dat.payload.assign(dat.data_bytes, '\2');
    const Tensor tensor = dat.read();
    CHECK(tensor.dtype() == c.dtype);
    CHECK(tensor.shape() == Shape{2, 3});
    CHECK(as_text(tensor.bytes()) == dat.payload);
  }
  CHECK(Dat{.bits = 32, .type = 1, .offset_52 = 1}.read().dtype() == DType::kI32);
  CHECK(Dat{.type = 3, .vendor = 0x5452}.read().dtype() == DType::kI32);
}

TEST_CASE("logicals have one bit, the first in the high one, or eight") {
  Dat bits{
      .extents = {10}, .bits = 1, .type = 5, .payload = "\xa0\x40", .data_bytes = 2, .rank = 1};
  CHECK(to_i64(bits.read()) == std::vector<int64_t>{1, 0, 1, 0, 0, 0, 0, 0, 0, 1});
  Dat bytes{.extents = {3},
            .bits = 8,
            .type = 5,
            .payload = std::string("\0\x07\1", 3),
            .data_bytes = 3,
            .rank = 1};
  CHECK(to_i64(bytes.read()) == std::vector<int64_t>{0, 1, 1});
}

TEST_CASE("integers of other widths are packed, the highest bit first") {
  // 1 2 3 15 0 9 in 4 bits; 5 and -3 in 3 bits, then -1 and 0.
  Dat nibbles{.bits = 4, .type = 2, .payload = "\x12\x3f\x09", .data_bytes = 3};
  CHECK(nibbles.read().dtype() == DType::kU8);
  CHECK(to_i64(nibbles.read()) == std::vector<int64_t>{1, 2, 3, 15, 0, 9});
  Dat odd{.extents = {4}, .bits = 3, .type = 4, .payload = "\x77\x80", .data_bytes = 2, .rank = 1};
  CHECK(odd.read().dtype() == DType::kI8);
  CHECK(to_i64(odd.read()) == std::vector<int64_t>{3, -3, -1, 0});
  Dat wide{.extents = {1},
           .bits = 40,
           .type = 1,
           .payload = std::string("\0\0\1\0\2", 5),
           .data_bytes = 5,
           .rank = 1};
  CHECK(wide.read().dtype() == DType::kU64);
  CHECK(to_i64(wide.read()) == std::vector<int64_t>{65538});
}

TEST_CASE("what only tract has is refused by its name") {
  CHECK(Dat{.bits = 0xFFFF, .type = 0x1000, .vendor = 0x5452}.error() ==
        "item type 4096 of 65535 bits from vendor 0x5452, tract's strings, is not supported");
  CHECK(Dat{.bits = ~0U, .type = 0x2040, .vendor = 0x5452}.error().find("Q4_0") !=
        std::string::npos);
  CHECK(Dat{.bits = 65, .type = 4}.error() ==
        "item type 4 of 65 bits from vendor 0x0 is not supported");
}

TEST_CASE("scalars and empty tensors are tensors") {
  const Tensor scalar = Dat{.extents = {}, .payload = "abcd", .data_bytes = 4, .rank = 0}.read();
  CHECK(scalar.shape().empty());
  CHECK(scalar.count() == 1);
  CHECK(Dat{.extents = {0, 3}, .payload = "", .data_bytes = 0}.read().count() == 0);
}

TEST_CASE("a header that contradicts itself or the file is refused with field and value") {
  CHECK(Dat{.magic = "\x4e\xee"}.error() == "the first two bytes are 4E EE, expected 4E EF");
  CHECK(Dat{.major = 2}.error() == "version is 2.0, expected 1.0");
  CHECK(Dat{.rank = 9}.error() == "rank is 9, at most 8 (NNEF 1.0.5, tensor file)");
  CHECK(Dat{.data_bytes = 20}.error() ==
        "the header has 20 data bytes, shape [2, 3] of 32 bits needs 24");
  CHECK(Dat{.payload = "short"}.error() ==
        "5 bytes follow the header, shape [2, 3] of 32 bits needs 24");
  CHECK(Dat{.extents = {~0U, ~0U, ~0U}, .rank = 3}.error() ==
        "shape [4294967295, 4294967295, 4294967295] is too large");
  CHECK(
      Dat{.extents = {1U << 31, 1U << 31, 0}, .payload = "", .data_bytes = 0, .rank = 3}.error() ==
      "shape [2147483648, 2147483648, 0] is too large");
  CHECK(Dat{.bits = 24}.error() == "item type 0 of 24 bits from vendor 0x0 is not supported");
  CHECK(Dat{.type = 0, .vendor = 0x5452}.error() ==
        "item type 0 of 32 bits from vendor 0x5452, tract's complex numbers, is not supported");
  CHECK(Dat{.type = 4, .vendor = 7}.error() ==
        "item type 4 of 32 bits from vendor 0x7 is not supported");
  const std::string cut = Dat{}.bytes().substr(0, 100);
  CHECK_THROWS_WITH(read_dat(as_bytes(cut), nullptr),
                    "100 bytes, a tensor file has a header of 128");
}

}  // namespace
}  // namespace espalier::nnef
