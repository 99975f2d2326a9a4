#pragma once

#include <cstdint>
#include <span>

#include "lib/ops/operator.h"

namespace espalier {

/// Operators that are several of ONNX's own at once: those that onnxruntime's optimizer writes into
/// files (com.microsoft). They are run, and written in other formats, as what they stand for; masks,
/// packing and files know them as they are. find_operator() finds them.
std::span<const Operator> composite_operators();

/// Whether the graph or a subgraph has a node of such an operator.
bool has_composites(const Graph& graph);

/// Nodes that the runtime has an implementation of its own for (FusedMatMul) are left alone, except
/// for formats that lack it.
enum class Expand { kForRun, kForFormat };

/// The graph, with its subgraphs, with ONNX's operators in place of such nodes. Values and weights
/// keep their ids, new ones come after them; a made node has name and number of the one before.
/// Errors  Fault::kUnsupported naming node and input, output or attribute that is not supported.
Graph with_composites_expanded(Graph graph, int64_t opset, Expand what = Expand::kForRun);

}  // namespace espalier
