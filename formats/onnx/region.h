#pragma once

#include <vector>

#include "formats/onnx/packed_call.h"
#include "formats/onnx/tensor_proto.h"

namespace espalier {

// Functions of profile `region`: each holds a run of operators with the decodes of their weights,
// and its call the same as a model, for a runtime that does not see functions' bodies.
// docs/formats/sparse-onnx.md, "Regions".

/// Moves runs of nodes that espalier's runtime has, where they read packed weights, from `graph`
/// into functions, which are added to `frame`, the model without its graph; `initializers` are the
/// graph's, of which small ones move along. A run of more than kMaxRegions, and one whose outputs have no known type, stays as it
/// is, with a warning.
void take_regions(pb::GraphProto& graph, pb::ModelProto& frame,
                  std::vector<StoredTensor>& initializers);

/// Small initializers are Constant nodes of that name in a region: onnxruntime's cost of a run grows
/// with the number of a session's initializers.
inline constexpr std::string_view kRegionConstant = "espalier/initializer";
/// Makes initializers of them again.
void take_region_constants(Graph& graph);

/// Puts the nodes of such functions back where they are called as take_regions() calls them.
/// Errors  Fault::kFormat where a call holds another body than its function.
void put_back_regions(pb::ModelProto& proto);

}  // namespace espalier
