#include "formats/onnx/tensor_proto.h"

#include <fmt/format.h>

#include <limits>

#include "formats/onnx/data_type.h"
#include "lib/sparse/pack.h"

namespace espalier {
namespace {

using pb::TensorProto;

// The field that holds elements of a type outside raw_data.
enum class Typed { kFloat, kDouble, kInt32, kInt64, kUint64, kString };

Typed typed_field(DType dtype) {
  switch (dtype) {
    case DType::kF32:
    case DType::kComplex64:
      return Typed::kFloat;
    case DType::kF64:
    case DType::kComplex128:
      return Typed::kDouble;
    case DType::kI64:
      return Typed::kInt64;
    case DType::kU32:
    case DType::kU64:
      return Typed::kUint64;
    case DType::kString:
      return Typed::kString;
    default:
      return Typed::kInt32;
  }
}

bool is_signed(DType dtype) {
  return dtype == DType::kI8 || dtype == DType::kI16 || dtype == DType::kI32;
}

[[noreturn]] void refuse(std::string text) { throw Error(Fault::kFormat, std::move(text)); }

void check_one_field(const TensorProto& proto, DType dtype) {
  const std::pair<std::string_view, int> fields[] = {
      {"float_data", proto.float_data_size()},   {"double_data", proto.double_data_size()},
      {"int32_data", proto.int32_data_size()},   {"int64_data", proto.int64_data_size()},
      {"uint64_data", proto.uint64_data_size()}, {"string_data", proto.string_data_size()}};
  const auto allowed = static_cast<size_t>(typed_field(dtype));
  for (size_t i = 0; i < std::size(fields); ++i) {
    if (fields[i].second == 0) continue;
    if (i != allowed)
      refuse(fmt::format("elements of type {} in {}", name_of(dtype), fields[i].first));
    if (!proto.raw_data().empty())
      refuse(fmt::format("elements both in raw_data and in {}", fields[i].first));
    if (proto.data_location() == TensorProto::EXTERNAL)
      refuse(fmt::format("elements both in an external file and in {}", fields[i].first));
  }
}

template <typename From>
Tensor from_field(const google::protobuf::RepeatedField<From>& field, std::string_view name,
                  DType dtype, Shape shape) {
  // The count is checked before anything is allocated: a shape is only a claim.
  const size_t bytes = byte_count(dtype, shape);
  if (bytes != field.size() * sizeof(From)) {
    refuse(fmt::format("{} has {} entries, {} of shape {} needs {}", name, field.size(),
                       name_of(dtype), to_string(shape), bytes / sizeof(From)));
  }
  Tensor result = Tensor::zeros(dtype, std::move(shape));
  if (bytes != 0) std::memcpy(result.mutable_bytes().data(), field.data(), bytes);
  return result;
}

// u32 elements, each in 64 bits.
Tensor u32_from_u64(const TensorProto& proto, Shape shape) {
  const auto& field = proto.uint64_data();
  if (element_count(shape) != static_cast<size_t>(field.size())) {
    refuse(fmt::format("uint64_data has {} entries, u32 of shape {} needs {}", field.size(),
                       to_string(shape), element_count(shape)));
  }
  Tensor result = Tensor::zeros(DType::kU32, std::move(shape));
  auto data = result.mutable_data<uint32_t>();
  for (int i = 0; i < field.size(); ++i) {
    if (field[i] > std::numeric_limits<uint32_t>::max())
      refuse(fmt::format("uint64_data[{}] is {}, too large for u32", i, field[i]));
    data[i] = static_cast<uint32_t>(field[i]);
  }
  return result;
}

// Entries of int32_data for `count` elements: one each, but 4-bit elements by twos and 2-bit ones
// by fours in a byte.
size_t int32_entries(DType dtype, size_t count) {
  const size_t bits = bits_of(dtype);
  return bits < 6 ? ceil_div(count, 8 / bits) : count;
}

// Bits of one entry: elements of 6 bits cross the limits of bytes, smaller ones share a byte.
size_t entry_bits(DType dtype) { return bits_of(dtype) < 6 ? 8 : bits_of(dtype); }

// Elements of int32_data narrowed to their type; an entry of a sub-byte type is one byte of
// elements.
Tensor from_int32(const TensorProto& proto, DType dtype, Shape shape) {
  const auto& field = proto.int32_data();
  const size_t wanted = int32_entries(dtype, element_count(shape));
  if (wanted != static_cast<size_t>(field.size())) {
    refuse(fmt::format("int32_data has {} entries, {} of shape {} needs {}", field.size(),
                       name_of(dtype), to_string(shape), wanted));
  }
  const size_t bits = entry_bits(dtype);
  const int64_t high = bits == 32 ? std::numeric_limits<int32_t>::max()
                                  : (int64_t{1} << (is_signed(dtype) ? bits - 1 : bits)) - 1;
  const int64_t low = is_signed(dtype) ? -high - 1 : 0;
  Tensor result = Tensor::zeros(dtype, std::move(shape));
  const std::span<std::byte> bytes = result.mutable_bytes();
  size_t at = 0;  // in bits
  for (int i = 0; i < field.size(); ++i, at += bits) {
    if (field[i] < low || field[i] > high) {
      refuse(fmt::format("int32_data[{}] is {}, {} goes from {} to {}", i, field[i], name_of(dtype),
                         low, high));
    }
    const uint32_t value =
        static_cast<uint32_t>(field[i]) & static_cast<uint32_t>((uint64_t{1} << bits) - 1);
    for (size_t bit = 0; bit < bits; bit += 8 - (at + bit) % 8) {
      bytes[(at + bit) / 8] |= static_cast<std::byte>(value >> bit << (at + bit) % 8 & 0xFF);
    }
  }
  return result;
}

void to_int32(TensorProto& proto, const Tensor& tensor) {
  const size_t bits = entry_bits(tensor.dtype());
  const size_t entries = int32_entries(tensor.dtype(), tensor.count());
  const Bytes bytes = tensor.bytes();
  proto.mutable_int32_data()->Reserve(static_cast<int>(entries));
  for (size_t i = 0, at = 0; i < entries; ++i, at += bits) {
    uint32_t value = 0;
    for (size_t bit = 0; bit < bits; bit += 8 - (at + bit) % 8) {
      value |= static_cast<uint32_t>(bytes[(at + bit) / 8]) >> (at + bit) % 8 << bit;
    }
    value &= static_cast<uint32_t>((uint64_t{1} << bits) - 1);
    if (tensor.dtype() == DType::kI8) value = static_cast<uint32_t>(static_cast<int8_t>(value));
    if (tensor.dtype() == DType::kI16) value = static_cast<uint32_t>(static_cast<int16_t>(value));
    proto.add_int32_data(static_cast<int32_t>(value));
  }
}

Tensor from_strings(const TensorProto& proto, Shape shape) {
  if (element_count(shape) != static_cast<size_t>(proto.string_data_size())) {
    refuse(fmt::format("string_data has {} entries, shape {} needs {}", proto.string_data_size(),
                       to_string(shape), element_count(shape)));
  }
  auto bytes = std::make_shared<std::string>();
  for (const std::string& text : proto.string_data()) {
    const auto length = static_cast<uint32_t>(text.size());
    bytes->append(as_text(std::as_bytes(std::span(&length, 1))));
    bytes->append(text);
  }
  return Tensor(DType::kString, std::move(shape), as_bytes(*bytes), bytes);
}

void to_strings(TensorProto& proto, const Tensor& tensor) {
  ByteReader reader(tensor.bytes());
  for (size_t i = 0; i < tensor.count(); ++i) {
    const auto length = reader.get<uint32_t>("string length");
    proto.add_string_data(std::string(as_text(reader.take(length, "string"))));
  }
}

Tensor from_typed(const TensorProto& proto, DType dtype, Shape shape) {
  switch (typed_field(dtype)) {
    case Typed::kFloat:
      return from_field(proto.float_data(), "float_data", dtype, std::move(shape));
    case Typed::kDouble:
      return from_field(proto.double_data(), "double_data", dtype, std::move(shape));
    case Typed::kInt64:
      return from_field(proto.int64_data(), "int64_data", dtype, std::move(shape));
    case Typed::kUint64:
      if (dtype == DType::kU32) return u32_from_u64(proto, std::move(shape));
      return from_field(proto.uint64_data(), "uint64_data", dtype, std::move(shape));
    case Typed::kString:
      return from_strings(proto, std::move(shape));
    case Typed::kInt32:
      return from_int32(proto, dtype, std::move(shape));
  }
  return {};
}

void clear_typed(TensorProto& proto) {
  proto.clear_float_data();
  proto.clear_double_data();
  proto.clear_int32_data();
  proto.clear_int64_data();
  proto.clear_uint64_data();
  proto.clear_string_data();
}

bool has_typed(const TensorProto& proto) {
  return proto.float_data_size() + proto.double_data_size() + proto.int32_data_size() +
             proto.int64_data_size() + proto.uint64_data_size() + proto.string_data_size() !=
         0;
}

void mark_typed(TensorProto& proto, DType dtype) {
  clear_typed(proto);
  if (typed_field(dtype) != Typed::kString) proto.add_int32_data(0);
}

template <typename To>
void to_field(google::protobuf::RepeatedField<To>* field, const Tensor& tensor) {
  field->Resize(static_cast<int>(tensor.bytes().size() / sizeof(To)), To{});
  if (!tensor.bytes().empty())
    std::memcpy(field->mutable_data(), tensor.bytes().data(), tensor.bytes().size());
}

void put_typed(TensorProto& proto, const Tensor& tensor) {
  switch (typed_field(tensor.dtype())) {
    case Typed::kFloat:
      return to_field(proto.mutable_float_data(), tensor);
    case Typed::kDouble:
      return to_field(proto.mutable_double_data(), tensor);
    case Typed::kInt64:
      return to_field(proto.mutable_int64_data(), tensor);
    case Typed::kUint64:
      if (tensor.dtype() == DType::kU64) return to_field(proto.mutable_uint64_data(), tensor);
      for (const int64_t value : to_i64(tensor))
        proto.add_uint64_data(static_cast<uint64_t>(value));
      return;
    case Typed::kString:
      return to_strings(proto, tensor);
    case Typed::kInt32:
      return to_int32(proto, tensor);
  }
}

Shape take_shape(TensorProto& proto) {
  Shape shape(proto.dims().begin(), proto.dims().end());
  proto.clear_dims();
  element_count(shape);  // refuses what is negative or too large
  return shape;
}

Tensor take_raw(TensorProto& proto, DType dtype, Shape shape, Bytes mapped,
                std::shared_ptr<const void> owner) {
  if (dtype == DType::kString) refuse("strings are stored in raw_data, expected string_data");
  if (mapped.data() != nullptr) {
    proto.clear_raw_data();
    return Tensor(dtype, std::move(shape), mapped, std::move(owner));
  }
  std::shared_ptr<const std::string> data(proto.release_raw_data());
  const Bytes bytes = as_bytes(*data);
  return Tensor(dtype, std::move(shape), bytes, std::move(data));
}

void put_header(TensorProto& proto, DType dtype, const Shape& shape) {
  proto.set_data_type(onnx_from_dtype(dtype));
  proto.mutable_dims()->Assign(shape.begin(), shape.end());
  proto.clear_data_location();
  proto.clear_external_data();
}

}  // namespace

// From external data, raw_data (without a copy where it is mapped), or the field of the type.
Tensor take_tensor(TensorProto& proto, ExternalFiles& external, Bytes mapped,
                   std::shared_ptr<const void> owner) {
  const DType dtype = dtype_from_onnx(proto.data_type());
  proto.clear_data_type();
  if (proto.has_segment()) throw Error(Fault::kUnsupported, "elements are stored in segments");
  Shape shape = take_shape(proto);
  if (mapped.data() != nullptr) proto.set_raw_data("mapped");  // for the check alone
  check_one_field(proto, dtype);
  if (proto.data_location() == TensorProto::EXTERNAL) {
    if (!proto.raw_data().empty()) refuse("elements both in an external file and in raw_data");
    if (dtype == DType::kString)
      refuse("strings are stored in an external file, expected string_data");
    auto part = external.find(proto, byte_count(dtype, shape));
    return Tensor(dtype, std::move(shape), part.bytes, std::move(part.owner));
  }
  if (!proto.raw_data().empty()) {
    return take_raw(proto, dtype, std::move(shape), mapped, std::move(owner));
  }
  const bool any = has_typed(proto);
  if (!any && proto.has_raw_data() && element_count(shape) != 0)
    refuse(fmt::format("raw_data is empty, expected {} of shape {}", name_of(dtype),
                       to_string(shape)));
  Tensor result = from_typed(proto, dtype, std::move(shape));
  if (any) mark_typed(proto, dtype);
  return result;
}

StoredTensor stored_tensor(const Tensor& tensor, TensorProto leftovers) {
  StoredTensor result{std::move(leftovers), 0, nullptr};
  const bool typed = has_typed(result.proto) || tensor.dtype() == DType::kString;
  put_header(result.proto, tensor.dtype(), tensor.shape());
  clear_typed(result.proto);
  if (typed) {
    result.proto.clear_raw_data();
    put_typed(result.proto, tensor);
  } else if (tensor.count() != 0) {
    result.bytes = tensor.byte_size();
    result.data = [tensor] { return tensor; };
  }
  return result;
}

StoredTensor stored_tensor(const Weight& weight, TensorProto leftovers) {
  if (!weight.is_sparse()) return stored_tensor(weight.dense(), std::move(leftovers));
  const SparseMatrix& matrix = weight.sparse();
  StoredTensor result{std::move(leftovers), byte_count(matrix.dtype, matrix.shape), nullptr};
  put_header(result.proto, matrix.dtype, matrix.shape);
  clear_typed(result.proto);
  if (result.bytes != 0) {
    result.data = [matrix] {
      Tensor dense = decode(matrix);
      matrix.give_back();
      return dense;
    };
  }
  return result;
}

TensorProto complete(StoredTensor tensor) {
  if (tensor.data) {
    const Tensor data = tensor.data();
    tensor.proto.set_raw_data(data.bytes().data(), data.bytes().size());
  }
  return std::move(tensor.proto);
}

}  // namespace espalier
