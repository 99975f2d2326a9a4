#pragma once

#include <string>

#include "formats/onnx/proto.h"

namespace espalier {

/// What must hold of a model before its graph is read: the version of the IR, and functions that
/// end. Of an IR version newer than the onnx library's, every operator and every field must be
/// known.
/// Errors  Fault::kFormat: no version or one below 1, functions that call each other in a circle
///         or are defined twice. Fault::kUnsupported: what a newer version brought, by name.
void check_frame(const pb::ModelProto& proto);

/// What the user should know of a model whose IR version is newer than the onnx library's; else "".
std::string newer_ir_version(const pb::ModelProto& proto);

}  // namespace espalier
