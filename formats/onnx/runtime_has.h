#pragma once

#include "formats/onnx/proto.h"

namespace espalier {

/// Whether the runtime has the node's operator, or one that ONNX defines by others which it can be
/// expanded to (with_functions_expanded), and those in its subgraphs. `frame` says which opsets.
bool runtime_has(const pb::NodeProto& node, const pb::ModelProto& frame);

}  // namespace espalier
