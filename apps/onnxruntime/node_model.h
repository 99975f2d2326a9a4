#pragma once

#include "apps/onnxruntime/kernel.h"
#include "formats/onnx/packed_call.h"

namespace espalier::ort {

/// The node of an operator of profile `operator`. Errors  as model_of_call.
NodeModel operator_model(const Api& api, const OrtKernelInfo& info, const PackedOperator& packed);

/// The node of a region: what its attribute `body` holds. Errors  as read_model.
NodeModel region_model(const Api& api, const OrtKernelInfo& info);

}  // namespace espalier::ort
