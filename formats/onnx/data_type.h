#pragma once

#include "formats/onnx/proto.h"
#include "lib/tensor/dtype.h"

namespace espalier {

/// Errors  Fault::kUnsupported naming the number, for 0 (undefined) and numbers that onnx does not
/// know.
DType dtype_from_onnx(int32_t data_type);
/// kUnknown gives UNDEFINED.
pb::TensorProto::DataType onnx_from_dtype(DType dtype);

}  // namespace espalier
