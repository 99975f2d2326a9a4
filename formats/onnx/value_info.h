#pragma once

#include "formats/onnx/proto.h"
#include "lib/ir/model.h"

namespace espalier {

/// Type, shape and the names of free dimensions, as far as Value can say them.
Value value_from_onnx(const pb::ValueInfoProto& proto);

/// The message for a value: the one it was read from (Value::extra) where that still says the same,
/// else a new one.
/// Errors  Fault::kUnsupported where the type is not known.
pb::ValueInfoProto onnx_from_value(const Value& value, bool own_extra);

/// Sets Value::extra to the whole message where a new one would differ from it.
void keep_leftovers(Value& value, const pb::ValueInfoProto& proto);

}  // namespace espalier
