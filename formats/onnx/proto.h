#pragma once

#include <onnx/onnx_pb.h>

namespace espalier {
namespace pb = ::ONNX_NAMESPACE;
}
