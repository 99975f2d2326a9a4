#include "lib/tensor/tensor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <optional>
#include <utility>

#include "lib/base/checked_math.h"
#include "lib/base/mapped_file.h"
#include "lib/tensor/buffer.h"
#include "lib/tensor/half.h"
#include "lib/tensor/small_types.h"

namespace espalier {
namespace {

constexpr size_t kAlignment = 64;

// Calls convert(bits or value) for each element of a tensor whose bytes may lie unaligned.
template <typename From, typename To, typename Convert>
std::vector<To> converted(const Tensor& tensor, Convert convert) {
  std::vector<To> result(tensor.count());
  const Tensor held = tensor.held();
  const std::byte* from = held.bytes().data();
  for (size_t i = 0; i < result.size(); ++i, from += sizeof(From)) {
    From value;
    std::memcpy(&value, from, sizeof(From));
    result[i] = convert(value);
  }
  return result;
}

template <typename From, typename To>
std::vector<To> cast_all(const Tensor& tensor) {
  return converted<From, To>(tensor, [](From value) { return static_cast<To>(value); });
}

// Elements of at most 8 bits, which may share bytes.
template <typename To>
std::vector<To> small_values(const Tensor& tensor) {
  const DType dtype = tensor.dtype();
  std::vector<uint8_t> elements(tensor.count());
  if (is_sub_byte(dtype)) {
    spread_sub_bytes(dtype, tensor.bytes(), elements);
  } else if (!elements.empty()) {
    std::memcpy(elements.data(), tensor.bytes().data(), elements.size());
  }
  std::vector<To> result(elements.size());
  std::ranges::transform(elements, result.begin(), [dtype](uint8_t bits) {
    return is_small_float(dtype) ? static_cast<To>(f32_from_small(dtype, bits))
                                 : static_cast<To>(static_cast<int8_t>(bits));
  });
  return result;
}

// Integers and bool; nothing for other types.
template <typename To>
bool integers(const Tensor& tensor, std::vector<To>& result) {
  switch (tensor.dtype()) {
    case DType::kI8:
      result = cast_all<int8_t, To>(tensor);
      return true;
    case DType::kI16:
      result = cast_all<int16_t, To>(tensor);
      return true;
    case DType::kI32:
      result = cast_all<int32_t, To>(tensor);
      return true;
    case DType::kI64:
      result = cast_all<int64_t, To>(tensor);
      return true;
    case DType::kU8:
      result = cast_all<uint8_t, To>(tensor);
      return true;
    case DType::kU16:
      result = cast_all<uint16_t, To>(tensor);
      return true;
    case DType::kU32:
      result = cast_all<uint32_t, To>(tensor);
      return true;
    case DType::kU64:
      result = cast_all<uint64_t, To>(tensor);
      return true;
    case DType::kBool:
      result = converted<uint8_t, To>(tensor, [](uint8_t b) { return static_cast<To>(b != 0); });
      return true;
    default:
      return false;
  }
}

}  // namespace

size_t byte_count(DType dtype, const Shape& shape) {
  const auto bits = checked_mul(element_count(shape), bits_of(dtype));
  if (!bits || *bits > SIZE_MAX / 4) {
    throw Error(Fault::kFormat,
                fmt::format("{} of shape {} is too large", name_of(dtype), to_string(shape)));
  }
  return ceil_div(*bits, 8);
}

Tensor::Tensor(DType dtype, Shape shape, Bytes bytes, std::shared_ptr<const void> owner)
    : dtype_(dtype),
      shape_(std::move(shape)),
      count_(element_count(shape_)),
      bytes_(bytes),
      owner_(std::move(owner)) {
  const size_t wanted = byte_count(dtype_, shape_);
  if (dtype_ != DType::kString && bytes_.size() != wanted) {
    throw Error(Fault::kFormat,
                fmt::format("{} bytes of data, {} of shape {} needs {}", bytes_.size(),
                            name_of(dtype_), to_string(shape_), wanted));
  }
}

// Made on the thread that asks first; others wait for it.
class Tensor::Deferred {
 public:
  explicit Deferred(std::function<Tensor()> make) : make_(std::move(make)) {}

  // With an owner of the bytes.
  Tensor get(DType dtype, size_t count) {
    const std::lock_guard lock(mutex_);
    if (!made_) {
      made_ = make_().held();
      ESPALIER_CHECK(made_->dtype() == dtype && made_->count() == count);
    }
    return *made_;
  }
  void give_back() {
    const std::lock_guard lock(mutex_);
    if (made_) made_->give_back();  // of a mapped file, maybe
    made_.reset();
  }

 private:
  const std::function<Tensor()> make_;
  std::mutex mutex_;
  std::optional<Tensor> made_;
};

Tensor Tensor::deferred(DType dtype, Shape shape, std::function<Tensor()> make) {
  Tensor result;
  result.dtype_ = dtype;
  result.count_ = element_count(shape);
  result.shape_ = std::move(shape);
  result.deferred_ = std::make_shared<Deferred>(std::move(make));
  return result;
}

Bytes Tensor::made_bytes() const { return deferred_->get(dtype_, count_).bytes_; }

size_t Tensor::byte_size() const { return deferred_ ? byte_count(dtype_, shape_) : bytes_.size(); }

void Tensor::give_back() const {
  if (deferred_) {
    deferred_->give_back();
  } else {
    MappedFile::give_back(bytes_);
  }
}

Tensor Tensor::held() const {
  if (!deferred_) return *this;
  Tensor result = deferred_->get(dtype_, count_);
  result.shape_ = shape_;
  result.writable_ = false;
  return result;
}

Tensor Tensor::zeros(DType dtype, Shape shape) {
  const size_t bytes = byte_count(dtype, shape);
  const std::shared_ptr<std::byte> buffer = make_buffer(bytes, Fill::kZeros);
  Tensor result(dtype, std::move(shape), {buffer.get(), bytes}, buffer);
  result.writable_ = true;
  return result;
}

std::span<std::byte> Tensor::mutable_bytes() {
  ESPALIER_CHECK(writable_ && !deferred_ && owner_.use_count() == 1);
  return {const_cast<std::byte*>(bytes_.data()), bytes_.size()};
}

Tensor Tensor::reshaped(Shape shape) const {
  ESPALIER_CHECK(element_count(shape) == count_);
  Tensor result = *this;
  result.shape_ = std::move(shape);
  return result;
}

Tensor Tensor::aligned() const {
  if (deferred_) return held().aligned();
  if (reinterpret_cast<uintptr_t>(bytes_.data()) % kAlignment == 0) return *this;
  return copy();
}

Tensor Tensor::copy() const {
  if (deferred_) return held().copy();
  const std::shared_ptr<std::byte> buffer = make_buffer(bytes_.size(), Fill::kNone);
  if (!bytes_.empty()) std::memcpy(buffer.get(), bytes_.data(), bytes_.size());
  Tensor result(dtype_, shape_, {buffer.get(), bytes_.size()}, buffer);
  result.writable_ = true;
  return result;
}

std::vector<float> to_f32(const Tensor& tensor) {
  std::vector<float> result;
  switch (tensor.dtype()) {
    case DType::kF32:
      return cast_all<float, float>(tensor);
    case DType::kF64:
      return cast_all<double, float>(tensor);
    case DType::kF16:
      return converted<uint16_t, float>(tensor, f32_from_f16);
    case DType::kBF16:
      return converted<uint16_t, float>(tensor, f32_from_bf16);
    default:
      break;
  }
  if (integers(tensor, result)) return result;
  if (is_small_float(tensor.dtype()) || is_sub_byte_int(tensor.dtype())) {
    return small_values<float>(tensor);
  }
  throw Error(Fault::kUnsupported,
              fmt::format("values of type {} cannot be used as numbers", name_of(tensor.dtype())));
}

Tensor as_f32(const Tensor& tensor) {
  if (tensor.dtype() == DType::kF32) return tensor.aligned();
  return Tensor::of<float>(tensor.shape(), to_f32(tensor));
}

Tensor from_f32(std::span<const float> values, DType dtype, Shape shape) {
  Tensor result = Tensor::zeros(dtype, std::move(shape));
  ESPALIER_CHECK(values.size() == result.count());
  switch (dtype) {
    case DType::kF32:
      std::ranges::copy(values, result.mutable_data<float>().begin());
      return result;
    case DType::kF64:
      std::ranges::copy(values, result.mutable_data<double>().begin());
      return result;
    case DType::kF16:
      std::ranges::transform(values, result.mutable_data<uint16_t>().begin(), f16_from_f32);
      return result;
    case DType::kBF16:
      std::ranges::transform(values, result.mutable_data<uint16_t>().begin(), bf16_from_f32);
      return result;
    default:
      throw Error(Fault::kUnsupported,
                  fmt::format("values cannot be stored as {}", name_of(dtype)));
  }
}

std::vector<int64_t> to_i64(const Tensor& tensor) {
  std::vector<int64_t> result;
  if (integers(tensor, result)) return result;
  if (is_sub_byte_int(tensor.dtype())) return small_values<int64_t>(tensor);
  throw Error(Fault::kUnsupported, fmt::format("values are of type {}, expected an integer type",
                                               name_of(tensor.dtype())));
}

bool same_bits(const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype() || a.shape() != b.shape()) return false;
  const Tensor x = a.held(), y = b.held();  // making one may give the other back
  const Bytes p = x.bytes(), q = y.bytes();
  return p.size() == q.size() && (p.empty() || std::memcmp(p.data(), q.data(), p.size()) == 0);
}

}  // namespace espalier
