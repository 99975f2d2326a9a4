#pragma once

#include <filesystem>
#include <string>
#include <utility>

#include "lib/tensor/tensor.h"

namespace espalier {

/// A file that holds one TensorProto, as ONNX's own test data does: its name (may be empty) and the
/// tensor.
/// Errors  Fault::kFormat: no such file, not a TensorProto, or as take_tensor; external data.
std::pair<std::string, Tensor> read_tensor_proto_file(const std::filesystem::path& path);

}  // namespace espalier
