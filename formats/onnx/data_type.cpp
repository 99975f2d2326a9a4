#include "formats/onnx/data_type.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "lib/base/error.h"

namespace espalier {
namespace {

struct Pair {
  DType dtype;
  pb::TensorProto::DataType onnx;
};

constexpr std::array kPairs{
    Pair{DType::kF32, pb::TensorProto::FLOAT},
    Pair{DType::kF64, pb::TensorProto::DOUBLE},
    Pair{DType::kF16, pb::TensorProto::FLOAT16},
    Pair{DType::kBF16, pb::TensorProto::BFLOAT16},
    Pair{DType::kI8, pb::TensorProto::INT8},
    Pair{DType::kI16, pb::TensorProto::INT16},
    Pair{DType::kI32, pb::TensorProto::INT32},
    Pair{DType::kI64, pb::TensorProto::INT64},
    Pair{DType::kU8, pb::TensorProto::UINT8},
    Pair{DType::kU16, pb::TensorProto::UINT16},
    Pair{DType::kU32, pb::TensorProto::UINT32},
    Pair{DType::kU64, pb::TensorProto::UINT64},
    Pair{DType::kBool, pb::TensorProto::BOOL},
    Pair{DType::kString, pb::TensorProto::STRING},
    Pair{DType::kComplex64, pb::TensorProto::COMPLEX64},
    Pair{DType::kComplex128, pb::TensorProto::COMPLEX128},
    Pair{DType::kF8E4M3FN, pb::TensorProto::FLOAT8E4M3FN},
    Pair{DType::kF8E4M3FNUZ, pb::TensorProto::FLOAT8E4M3FNUZ},
    Pair{DType::kF8E5M2, pb::TensorProto::FLOAT8E5M2},
    Pair{DType::kF8E5M2FNUZ, pb::TensorProto::FLOAT8E5M2FNUZ},
    Pair{DType::kF8E8M0, pb::TensorProto::FLOAT8E8M0},
    Pair{DType::kU4, pb::TensorProto::UINT4},
    Pair{DType::kI4, pb::TensorProto::INT4},
    Pair{DType::kF4E2M1, pb::TensorProto::FLOAT4E2M1},
    Pair{DType::kU2, pb::TensorProto::UINT2},
    Pair{DType::kI2, pb::TensorProto::INT2},
    Pair{DType::kF6E2M3, pb::TensorProto::FLOAT6E2M3},
    Pair{DType::kF6E3M2, pb::TensorProto::FLOAT6E3M2},
};

}  // namespace

DType dtype_from_onnx(int32_t data_type) {
  const auto found =
      std::ranges::find(kPairs, data_type, [](const Pair& p) -> int32_t { return p.onnx; });
  if (found != kPairs.end()) return found->dtype;
  throw Error(Fault::kUnsupported,
              fmt::format("data type is {}, expected one of ONNX, 1 to {}", data_type,
                          static_cast<int>(pb::TensorProto::DataType_MAX)));
}

pb::TensorProto::DataType onnx_from_dtype(DType dtype) {
  const auto found = std::ranges::find(kPairs, dtype, &Pair::dtype);
  return found == kPairs.end() ? pb::TensorProto::UNDEFINED : found->onnx;
}

}  // namespace espalier
