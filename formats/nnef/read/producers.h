#pragma once

#include <string_view>

#include "formats/nnef/read/graph_builder.h"

namespace espalier::nnef {

/// What `tensor` was before reshapes that keep the order of its elements (Squeeze, Unsqueeze,
/// Reshape), which do not matter to a formula.
TensorRef bare(const GraphBuilder& graph, TensorRef tensor);

/// The node that makes `tensor` if it is `op` of `domain`, else null.
const Node* producer_of(const GraphBuilder& graph, const TensorRef& tensor, std::string_view op,
                        std::string_view domain = "");

}  // namespace espalier::nnef
