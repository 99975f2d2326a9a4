#pragma once

#include <string_view>

#include "formats/nnef/read/call.h"

namespace espalier::nnef {

/// tract's name of an item type: "f32", "i64", "u8", "bool", "TDim", ... in any case.
/// Errors  Fault::kFormat naming the type where it is none of these.
DType tract_type(const Call& call, std::string_view name);

/// ONNX's number of a type that a Cast can give (TensorProto.DataType).
int64_t onnx_type(DType dtype);

}  // namespace espalier::nnef
