#pragma once

#include <fmt/format.h>

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/parallel.h"
#include "lib/ops/operator.h"

namespace espalier {

/// Shapes or values inside the model that do not fit each other.
template <typename... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(Fault::kFormat, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
[[noreturn]] void unsupported(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(Fault::kUnsupported, fmt::format(format, std::forward<Args>(args)...));
}
[[noreturn]] void unsupported_type(DType dtype);

/// A type by its number in ONNX (TensorProto.DataType), as attributes name types.
/// Errors  Fault::kUnsupported for strings, complex numbers and numbers that ONNX does not have.
DType dtype_of_onnx(int64_t type);

std::string to_string(const Dims& dims);

/// Elements, checked: extents come from the model's data.
/// Errors  Fault::kFormat for a negative extent or a product that passes 2^62.
size_t checked_count(const Dims& dims);

/// An axis counted from the front; negative ones count from the end.
size_t axis_of(int64_t axis, size_t rank);
/// One bit per axis.
/// Errors  Fault::kFormat for an axis out of range or named twice.
uint64_t axes_mask(const Dims& axes, size_t rank);

/// Multidirectional broadcasting of ONNX.
/// Errors  Fault::kFormat naming both shapes.
Dims broadcast(const Dims& a, const Dims& b);

/// Distances in elements between neighbours along each axis.
using Strides = std::array<ptrdiff_t, Dims::kMaxRank>;
Strides row_major(const Dims& dims);
/// Those of `dims` seen under the broadcast shape `out`: 0 along axes that repeat.
Strides broadcast_strides(const Dims& dims, const Dims& out);

/// Elements of an input as f32.
/// Errors  Fault::kUnsupported where it is of another type.
const float* f32_of(const RunContext& context, size_t input);
float* f32_output(RunContext& context, size_t index, const Dims& dims);

/// Integers of any width (shapes, axes, counts). At most Dims::kMaxRank of them, or any number.
Dims ints_of(const TensorView& view);
std::vector<int64_t> long_ints_of(const TensorView& view);
/// The same in the step's scratch memory: nothing is allocated.
std::span<const int64_t> long_ints_of(RunContext& run, const TensorView& view);
/// Room for numbers until the step ends, not initialised.
std::span<int64_t> scratch_ints(RunContext& run, size_t count);
/// The only element of a view as a number.
double scalar_of(const TensorView& view);

/// Integers that older opsets have as an attribute and newer ones as an input.
class IntsOperand {
 public:
  IntsOperand(const PrepareContext& context, const char* attribute, size_t input);
  /// Nothing where the node has neither.
  std::optional<Dims> get(const RunContext& context) const;

 private:
  std::optional<Dims> attribute_;
  size_t input_;
};

/// Copies elements of `width` bytes (1, 2, 4, 8, 16) from one strided place to another; strides in
/// elements, possibly 0 or negative for `from`.
void copy_strided(size_t width, const Dims& dims, const std::byte* from,
                  const Strides& from_strides, std::byte* to, const Strides& to_strides);

/// Calls body with a value of the C++ type of `dtype`; false for types that are not computed with.
template <typename Body>
bool with_float(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::kF32:
      return body(float{}), true;
    case DType::kF64:
      return body(double{}), true;
    default:
      return false;
  }
}
template <typename Body>
bool with_number(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::kI64:
      return body(int64_t{}), true;
    case DType::kI32:
      return body(int32_t{}), true;
    case DType::kI16:
      return body(int16_t{}), true;
    case DType::kI8:
      return body(int8_t{}), true;
    case DType::kU64:
      return body(uint64_t{}), true;
    case DType::kU32:
      return body(uint32_t{}), true;
    case DType::kU16:
      return body(uint16_t{}), true;
    case DType::kU8:
      return body(uint8_t{}), true;
    default:
      return with_float(dtype, body);
  }
}

}  // namespace espalier
