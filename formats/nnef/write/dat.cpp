#include "formats/nnef/write/dat.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>

#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

constexpr size_t kHeaderBytes = 128;
constexpr size_t kMaxRank = 8;

struct Item {
  std::string_view type;
  uint16_t code;
  uint32_t bits;
};

// Item type and bits of a dtype in a tensor file.
Item item_of(DType dtype) {
  switch (dtype) {
    case DType::kF16:
    case DType::kF32:
    case DType::kF64:
      return {"scalar", 0, static_cast<uint32_t>(bits_of(dtype))};
    case DType::kU8:
    case DType::kU16:
    case DType::kU32:
    case DType::kU64:
      return {"integer", 1, static_cast<uint32_t>(bits_of(dtype))};
    case DType::kI8:
    case DType::kI16:
    case DType::kI32:
    case DType::kI64:
      return {"integer", 4, static_cast<uint32_t>(bits_of(dtype))};
    case DType::kBool:
      return {"logical", 5, 1};
    case DType::kBF16:
      throw Error(Fault::kUnsupported,
                  "bf16 has no item type in NNEF tensor files: store the values as f16 or f32");
    default:
      throw Error(Fault::kUnsupported,
                  fmt::format("{} has no item type in NNEF tensor files", name_of(dtype)));
  }
}

// Little-endian, as every machine that espalier runs on.
static_assert(std::endian::native == std::endian::little);

template <typename T>
void append(std::string& out, T value) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  out.append(bytes, sizeof(T));
}

std::string bits_of_logicals(const Tensor& tensor) {
  std::string out;
  const Bytes bytes = tensor.bytes();
  for (size_t i = 0; i < bytes.size(); i += 8) {
    unsigned byte = 0;
    for (size_t bit = 0; bit < 8 && i + bit < bytes.size(); ++bit) {
      if (bytes[i + bit] != std::byte{0}) byte |= 0x80U >> bit;
    }
    out += static_cast<char>(byte);
  }
  return out;
}

}  // namespace

std::string_view nnef_type(DType dtype) { return item_of(dtype).type; }

// The 128 bytes of the header, little-endian.
std::string dat_header(DType dtype, const Shape& shape) {
  const Item item = item_of(dtype);
  if (shape.size() > kMaxRank) {
    throw Error(Fault::kUnsupported, fmt::format("rank is {}, NNEF tensor files have at most {}",
                                                 shape.size(), kMaxRank));
  }
  const size_t count = element_count(shape);
  const size_t bytes = item.bits == 1 ? (count + 7) / 8 : count * (item.bits / 8);
  if (bytes > UINT32_MAX) {
    throw Error(
        Fault::kUnsupported,
        fmt::format("{} bytes of data, NNEF tensor files hold at most {}", bytes, UINT32_MAX));
  }
  std::string out{"\x4E\xEF\x01\x00", 4};
  append(out, static_cast<uint32_t>(bytes));
  append(out, static_cast<uint32_t>(shape.size()));
  for (size_t i = 0; i < kMaxRank; ++i) {
    const int64_t extent = i < shape.size() ? shape[i] : 0;
    if (extent > UINT32_MAX) {
      throw Error(Fault::kUnsupported, fmt::format("extent {} does not fit into 32 bits", extent));
    }
    append(out, static_cast<uint32_t>(extent));
  }
  append(out, item.bits);
  append(out, item.code);
  append(out, uint16_t{0});  // vendor: Khronos
  out.resize(kHeaderBytes, '\0');
  return out;
}

std::string dat_items(const Tensor& tensor) {
  if (tensor.dtype() == DType::kBool) return bits_of_logicals(tensor);
  return {reinterpret_cast<const char*>(tensor.bytes().data()), tensor.bytes().size()};
}

}  // namespace espalier::nnef
