#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>

#include "lib/base/check.h"
#include "lib/tensor/tensor.h"

namespace espalier {

/// Extents of at most kMaxRank axes, held in place: the runtime makes these at every step without
/// allocating.
class Dims {
 public:
  static constexpr size_t kMaxRank = 8;

  Dims() = default;
  Dims(std::initializer_list<int64_t> extents) : Dims(std::span(extents.begin(), extents.size())) {}
  /// Errors  Fault::kUnsupported for more than kMaxRank extents.
  explicit Dims(std::span<const int64_t> extents);
  explicit Dims(const Shape& shape) : Dims(std::span<const int64_t>(shape)) {}

  size_t rank() const { return rank_; }
  int64_t operator[](size_t axis) const { return extents_[axis]; }
  int64_t& operator[](size_t axis) { return extents_[axis]; }
  const int64_t* begin() const { return extents_.data(); }
  const int64_t* end() const { return extents_.data() + rank_; }
  void push_back(int64_t extent);
  Shape shape() const { return {begin(), end()}; }
  /// Product of the extents from `first` up to `last`; 1 where there are none.
  size_t product(size_t first, size_t last) const;
  size_t count() const { return product(0, rank_); }
  bool operator==(const Dims& other) const;

 private:
  std::array<int64_t, kMaxRank> extents_{};
  size_t rank_ = 0;
};

/// Bytes of one element of a view, where each element of a sub-byte type has a byte of its own
/// (lib/tensor/small_types.h). A string or unknown type is a bug.
size_t bytes_in_view(DType dtype);

/// Row-major elements that somebody else owns.
struct TensorView {
  DType dtype = DType::kF32;
  Dims dims;
  std::byte* bytes =
      nullptr;  ///< aligned for dtype; written only where the holder of the view made the tensor

  size_t count() const { return dims.count(); }
  template <typename T>
  T* data() const {
    ESPALIER_CHECK(sizeof(T) == bytes_in_view(dtype));
    return reinterpret_cast<T*>(bytes);
  }
};

}  // namespace espalier
