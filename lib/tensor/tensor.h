#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "lib/base/byte_reader.h"
#include "lib/base/check.h"
#include "lib/tensor/dtype.h"
#include "lib/tensor/shape.h"

namespace espalier {

/// Dense elements, row-major, with what keeps their bytes alive (a mapped file, a buffer). Copies
/// share the bytes. Invariant: bytes().size() is what dtype and shape need (byte_count), strings
/// excepted. Bytes need not be aligned for their type when they come from a file: data<T>() asks
/// for an aligned tensor, which aligned() gives.
class Tensor {
 public:
  Tensor() = default;  ///< f32 of shape [0]

  /// Errors  Fault::kFormat where `bytes` has another length than dtype and shape need.
  Tensor(DType dtype, Shape shape, Bytes bytes, std::shared_ptr<const void> owner);

  /// Elements that `make` makes when they are first looked at, and again after give_back(): a tensor
  /// of that type and shape. Whatever bytes() or data() gave is gone after give_back(); held() lasts.
  static Tensor deferred(DType dtype, Shape shape, std::function<Tensor()> make);

  /// Zeros in a buffer of its own, aligned to 64 bytes, writable by mutable_data() as long as no
  /// copy shares it.
  static Tensor zeros(DType dtype, Shape shape);

  template <typename T>
  static Tensor of(Shape shape, std::span<const T> values) {
    Tensor result = zeros(dtype_of<T>(), std::move(shape));
    ESPALIER_CHECK(values.size() == result.count());
    if constexpr (std::is_same_v<T, bool>) {
      for (size_t i = 0; i < values.size(); ++i)
        result.mutable_data<uint8_t>()[i] = values[i] ? 1 : 0;
    } else if (!values.empty()) {
      std::memcpy(result.mutable_bytes().data(), values.data(), values.size_bytes());
    }
    return result;
  }

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  size_t count() const { return count_; }  ///< elements
  Bytes bytes() const { return deferred_ ? made_bytes() : bytes_; }
  size_t byte_size() const;  ///< of bytes(), which are not made for it

  /// Lets go of the memory that the elements take: pages of a mapped file, what was made of a
  /// deferred tensor (for all its copies). They come back when they are looked at again.
  void give_back() const;
  bool is_deferred() const { return deferred_ != nullptr; }
  /// Itself, or the elements of a deferred tensor for as long as the result lives.
  Tensor held() const;

  /// T must be as wide as the element type (uint16_t serves f16, uint8_t bool) and the bytes
  /// aligned for it.
  template <typename T>
  std::span<const T> data() const {
    ESPALIER_CHECK(sizeof(T) == bytes_of(dtype_));
    const std::byte* const first = bytes().data();
    ESPALIER_CHECK(reinterpret_cast<uintptr_t>(first) % alignof(T) == 0);
    return {reinterpret_cast<const T*>(first), count_};
  }

  /// The writable bytes of a tensor made by zeros() that nothing else shares; anything else is a
  /// bug.
  std::span<std::byte> mutable_bytes();
  template <typename T>
  std::span<T> mutable_data() {
    ESPALIER_CHECK(sizeof(T) == bytes_of(dtype_));
    return {reinterpret_cast<T*>(mutable_bytes().data()), count_};
  }

  /// The same elements under another shape of equal count (a bug otherwise).
  Tensor reshaped(Shape shape) const;
  /// Itself, or a copy at an address aligned to 64 bytes.
  Tensor aligned() const;
  /// A copy with a buffer of its own.
  Tensor copy() const;

 private:
  class Deferred;
  Bytes made_bytes() const;
  DType dtype_ = DType::kF32;
  Shape shape_ = {0};
  size_t count_ = 0;
  Bytes bytes_;
  std::shared_ptr<const void> owner_;
  bool writable_ = false;
  std::shared_ptr<Deferred> deferred_;  // then bytes_ is empty
};

/// Bytes that `dtype` and `shape` need (sub-byte types rounded up to a byte); 0 for strings.
/// Errors  Fault::kFormat as element_count, or where the product passes 2^62.
size_t byte_count(DType dtype, const Shape& shape);

/// Floats and integers, small ones too (lib/tensor/small_types.h), as f32 values; other types are
/// Fault::kUnsupported.
std::vector<float> to_f32(const Tensor& tensor);
/// The same as an f32 tensor; an aligned f32 tensor is returned as it is.
Tensor as_f32(const Tensor& tensor);
/// f32 values rounded to f32, f16, bf16 or f64.
Tensor from_f32(std::span<const float> values, DType dtype, Shape shape);
/// Integers and bools of any width as i64; other types are Fault::kUnsupported.
std::vector<int64_t> to_i64(const Tensor& tensor);

/// Type, shape and bytes are equal.
bool same_bits(const Tensor& a, const Tensor& b);

}  // namespace espalier
