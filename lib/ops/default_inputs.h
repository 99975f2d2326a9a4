#pragma once

#include <vector>

#include "lib/ir/model.h"

namespace espalier {

/// Inputs of the graph that may be left out, because it holds a constant for each.
std::vector<ValueId> default_inputs(const Graph& graph);

/// Those of them that are inputs in every format, and no weights to any command: floats that are stored
/// dense; none where an operator takes one of them for its weight, which is a file that lists its
/// parameters among the inputs.
std::vector<ValueId> kept_default_inputs(const Graph& graph);

/// The graph without the constants of these inputs: they must be fed.
Graph without_defaults(Graph graph, const std::vector<ValueId>& inputs);

}  // namespace espalier
