#include "apps/python/src/arrays.h"

#include <array>
#include <new>

namespace nb = nanobind;

namespace espalier::python {
namespace {

using Code = nb::dlpack::dtype_code;

struct TypeInfo {
  std::string_view name;
  Code code;
  uint8_t bits;
};

// In the order of espalier_type.
constexpr std::array kTypes{TypeInfo{"f32", Code::Float, 32}, TypeInfo{"f64", Code::Float, 64},
                            TypeInfo{"f16", Code::Float, 16}, TypeInfo{"bf16", Code::Bfloat, 16},
                            TypeInfo{"i8", Code::Int, 8},     TypeInfo{"i16", Code::Int, 16},
                            TypeInfo{"i32", Code::Int, 32},   TypeInfo{"i64", Code::Int, 64},
                            TypeInfo{"u8", Code::UInt, 8},    TypeInfo{"u16", Code::UInt, 16},
                            TypeInfo{"u32", Code::UInt, 32},  TypeInfo{"u64", Code::UInt, 64},
                            TypeInfo{"bool", Code::Bool, 8}};

constexpr std::align_val_t kAlignment{64};

}  // namespace

std::string_view name_of_type(espalier_type type) {
  return type < 0 ? "another type" : kTypes.at(static_cast<size_t>(type)).name;
}

espalier_type type_of(nb::dlpack::dtype dtype) {
  for (size_t i = 0; i < kTypes.size(); ++i) {
    const auto& [name, code, bits] = kTypes[i];
    if (dtype.code == static_cast<uint8_t>(code) && dtype.bits == bits && dtype.lanes == 1)
      return static_cast<espalier_type>(i);
  }
  return -1;
}

nb::dlpack::dtype dtype_of_type(espalier_type type) {
  if (type == ESPALIER_BF16) type = ESPALIER_U16;
  const TypeInfo& info = kTypes.at(static_cast<size_t>(type));
  return {static_cast<uint8_t>(info.code), info.bits, 1};
}

size_t bytes_of_type(espalier_type type) { return kTypes.at(static_cast<size_t>(type)).bits / 8; }

void Buffer::Free::operator()(std::byte* data) const { ::operator delete[](data, kAlignment); }

Buffer::Buffer(size_t bytes)
    : data_(static_cast<std::byte*>(::operator new[](bytes, kAlignment))) {}

nb::object Buffer::array(espalier_type type, const std::vector<size_t>& shape) {
  std::byte* const data = data_.get();
  nb::capsule owner(data, [](void* memory) noexcept { Free()(static_cast<std::byte*>(memory)); });
  data_.release();
  return nb::cast(Array(data, shape.size(), shape.data(), owner, nullptr, dtype_of_type(type)));
}

}  // namespace espalier::python
