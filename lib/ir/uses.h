#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "lib/ir/model.h"

namespace espalier {

/// Deepest nesting of subgraphs that is run.
inline constexpr size_t kMaxNesting = 32;

/// If, Loop, Scan: nodes whose subgraphs are run.
bool is_control_flow(const Node& node);

/// Names that `graph` reads from the graphs around it: values that it uses and nobody in it makes.
/// Errors  Fault::kUnsupported where subgraphs lie deeper than kMaxNesting.
std::vector<std::string> captured_names(const Graph& graph);

/// Names that the subgraphs of a node read from the graphs around them.
/// Errors  as captured_names.
std::vector<std::string> captured_by(const Node& node);

/// Nodes that an output of the graph depends on, in order; constants that the graph stores are not
/// among them.
std::vector<size_t> needed_nodes(const Graph& graph);

}  // namespace espalier
