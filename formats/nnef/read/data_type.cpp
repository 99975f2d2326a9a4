#include "formats/nnef/read/data_type.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

struct TypeName {
  std::string_view name;
  DType dtype;
  int64_t onnx;
};

constexpr std::array kTypes = {
    TypeName{"f32", DType::kF32, 1},  TypeName{"u8", DType::kU8, 2},
    TypeName{"i8", DType::kI8, 3},    TypeName{"u16", DType::kU16, 4},
    TypeName{"i16", DType::kI16, 5},  TypeName{"i32", DType::kI32, 6},
    TypeName{"i64", DType::kI64, 7},  TypeName{"bool", DType::kBool, 9},
    TypeName{"f16", DType::kF16, 10}, TypeName{"f64", DType::kF64, 11},
    TypeName{"u32", DType::kU32, 12}, TypeName{"u64", DType::kU64, 13},
    TypeName{"tdim", DType::kI64, 7},
};

}  // namespace

DType tract_type(const Call& call, std::string_view name) {
  std::string lower(name.substr(0, 20));
  std::ranges::transform(lower, lower.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const auto found = std::ranges::find(kTypes, std::string_view(lower), &TypeName::name);
  if (found == kTypes.end()) {
    call.fail(fmt::format("item type {} is not supported", printable(name)));
  }
  return found->dtype;
}

int64_t onnx_type(DType dtype) {
  const auto found = std::ranges::find(kTypes, dtype, &TypeName::dtype);
  ESPALIER_CHECK(found != kTypes.end());
  return found->onnx;
}

}  // namespace espalier::nnef
