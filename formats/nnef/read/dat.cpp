#include "formats/nnef/read/dat.h"

#include <fmt/format.h>

#include <array>
#include <cstring>

#include "lib/base/checked_math.h"
#include "lib/base/error.h"
#include "lib/base/limits.h"

namespace espalier::nnef {
namespace {

constexpr size_t kHeaderBytes = 128;
constexpr uint32_t kMaxRank = limits::nnef_rank;
constexpr uint16_t kTract = 0x5452;

struct Header {
  uint32_t data_bytes = 0;
  Shape shape;
  uint32_t bits = 0;
  uint16_t type = 0, vendor = 0;
  bool old_signed = false;  ///< what stood at offset 52 before 1.0.3: unsigned integers with a sign
};

// Reads the fields of a tensor file's header in order and checks magic, version and rank.
Header read_header(ByteReader& reader) {
  Header header;
  const auto magic = reader.get<uint16_t>("tensor file header");
  if (magic != 0xEF4E) {
    throw Error(Fault::kFormat, fmt::format("the first two bytes are {:02X} {:02X}, expected 4E EF",
                                            magic & 0xFF, magic >> 8));
  }
  const auto major = reader.get<uint8_t>("tensor file header");
  const auto minor = reader.get<uint8_t>("tensor file header");
  if (major != 1 || minor != 0) {
    throw Error(Fault::kUnsupported, fmt::format("version is {}.{}, expected 1.0", major, minor));
  }
  header.data_bytes = reader.get<uint32_t>("tensor file header");
  const auto rank = reader.get<uint32_t>("tensor file header");
  if (rank > kMaxRank) {
    throw Error(Fault::kFormat,
                fmt::format("rank is {}, at most {} (NNEF 1.0.5, tensor file)", rank, kMaxRank));
  }
  for (uint32_t i = 0; i < kMaxRank; ++i) {
    const auto extent = reader.get<uint32_t>("tensor file header");
    if (i < rank) header.shape.push_back(extent);
  }
  header.bits = reader.get<uint32_t>("tensor file header");
  header.type = reader.get<uint16_t>("tensor file header");
  header.vendor = reader.get<uint16_t>("tensor file header");
  header.old_signed = header.type == 1 && reader.get<uint32_t>("tensor file header") != 0;
  return header;
}

// The narrowest integer that holds `bits` bits.
DType integer_type(uint32_t bits, bool is_signed) {
  if (bits == 0 || bits > 64) return DType::kUnknown;
  if (bits <= 8) return is_signed ? DType::kI8 : DType::kU8;
  if (bits <= 16) return is_signed ? DType::kI16 : DType::kU16;
  if (bits <= 32) return is_signed ? DType::kI32 : DType::kU32;
  return is_signed ? DType::kI64 : DType::kU64;
}

DType float_type(uint32_t bits) {
  if (bits == 16) return DType::kF16;
  if (bits == 32) return DType::kF32;
  return bits == 64 ? DType::kF64 : DType::kUnknown;
}

// kUnknown: not ours. With tract's vendor code 0 and 4 are complex numbers.
DType item_type(const Header& header) {
  if (header.vendor != 0 && header.vendor != kTract) return DType::kUnknown;
  switch (header.type) {
    case 0:
      return header.vendor == 0 ? float_type(header.bits) : DType::kUnknown;
    case 1:
      return integer_type(header.bits, header.old_signed);
    case 2:
      return integer_type(header.bits, false);
    case 3:
      return integer_type(header.bits, true);
    case 4:
      return header.vendor == 0 ? integer_type(header.bits, true) : DType::kUnknown;
    case 5:
      return header.bits == 1 || header.bits == 8 ? DType::kBool : DType::kUnknown;
    default:
      return DType::kUnknown;
  }
}

// What a tensor file of tract can hold that espalier has no elements for, by name.
std::string_view foreign_name(const Header& header) {
  if (header.vendor != kTract) return "";
  if (header.type == 0 || header.type == 4) return "complex numbers";
  if (header.type == 0x1000) return "strings";
  const uint16_t family = header.type & 0xF000;
  if (family == 0x2000 || family == 0x3000) return "block-quantized values (Q4_0, Q8_0, Q8_1)";
  return "";
}

[[noreturn]] void refuse_type(const Header& header) {
  std::string what = fmt::format("item type {} of {} bits from vendor 0x{:X}", header.type,
                                 header.bits, header.vendor);
  const std::string_view name = foreign_name(header);
  if (!name.empty()) what += fmt::format(", tract's {},", name);
  throw Error(Fault::kUnsupported, fmt::format("{} is not supported", what));
}

// The bytes that extents and bits need, which must be what the header says and what the file has.
void check_length(const Header& header, size_t payload) {
  std::optional<uint64_t> bits = header.bits;
  for (const int64_t extent : header.shape) {
    if (bits) bits = checked_mul(*bits, static_cast<uint64_t>(extent));
  }
  const std::string shape = to_string(header.shape);
  if (!bits || *bits > (uint64_t{1} << 62)) {
    throw Error(Fault::kFormat, fmt::format("shape {} is too large", shape));
  }
  const uint64_t wanted = ceil_div(*bits, 8);
  if (wanted != header.data_bytes) {
    throw Error(Fault::kFormat,
                fmt::format("the header has {} data bytes, shape {} of {} bits needs {}",
                            header.data_bytes, shape, header.bits, wanted));
  }
  if (wanted != payload) {
    throw Error(Fault::kFormat, fmt::format("{} bytes follow the header, shape {} of {} bits needs "
                                            "{}",
                                            payload, shape, header.bits, wanted));
  }
}

// One byte per logical; in the file the first item is in the high bit.
Tensor unpack_logicals(const Header& header, Bytes items) {
  Tensor result = Tensor::zeros(DType::kBool, header.shape);
  const std::span<uint8_t> values = result.mutable_data<uint8_t>();
  for (size_t i = 0; i < values.size(); ++i) {
    const auto byte = static_cast<uint8_t>(items[header.bits == 1 ? i / 8 : i]);
    values[i] = header.bits == 1 ? (byte >> (7 - i % 8)) & 1 : byte != 0;
  }
  return result;
}

// Integers of any other number of bits stand in the stream one after another, the highest bit of
// the first in the highest bit of the first byte.
Tensor unpack_integers(const Header& header, DType dtype, Bytes items) {
  Tensor result = Tensor::zeros(dtype, header.shape);
  const size_t width = bytes_of(dtype);
  const bool is_signed = dtype >= DType::kI8 && dtype <= DType::kI64;
  std::byte* to = result.mutable_bytes().data();
  uint64_t bit = 0;
  for (size_t i = 0; i < result.count(); ++i, to += width) {
    uint64_t value = 0;
    for (uint32_t n = 0; n < header.bits; ++n, ++bit) {
      const auto byte = static_cast<uint64_t>(items[bit / 8]);
      value = value << 1 | (byte >> (7 - bit % 8) & 1);
    }
    if (is_signed && (value >> (header.bits - 1)) != 0) value |= ~uint64_t{0} << header.bits;
    std::memcpy(to, &value, width);  // little-endian, as the file
  }
  return result;
}

}  // namespace

Tensor read_dat(Bytes bytes, std::shared_ptr<const void> owner) {
  if (bytes.size() < kHeaderBytes) {
    throw Error(Fault::kFormat, fmt::format("{} bytes, a tensor file has a header of {}",
                                            bytes.size(), kHeaderBytes));
  }
  ByteReader reader(bytes);
  const Header header = read_header(reader);
  const Bytes items = bytes.subspan(kHeaderBytes);
  const DType dtype = item_type(header);
  if (dtype == DType::kUnknown) refuse_type(header);
  check_length(header, items.size());
  if (dtype == DType::kBool) return unpack_logicals(header, items);
  if (bits_of(dtype) != header.bits) return unpack_integers(header, dtype, items);
  return {dtype, header.shape, items, std::move(owner)};
}

}  // namespace espalier::nnef
