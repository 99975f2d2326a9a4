#pragma once

// Inside lib/runtime only: one node as the runner runs it.

#include "lib/runtime/graph_runner.h"

namespace espalier {

struct GraphRunner::Step {
  std::string op, name, label;  ///< label: "node NAME (Op)", for errors
  std::vector<ValueId> inputs, outputs;
  std::vector<size_t> last_use;  ///< per output: the last step that reads it
  Run run;
};

/// "node NAME (Op)"; a node without a name is called by its place.
std::string label_of(const Node& node, size_t place);

/// If, Loop, Scan: nodes whose subgraphs the runtime runs.
bool is_control_flow(const Node& node);

/// Names that the subgraphs of a node read from the graphs around them.
std::vector<std::string> captured_by(const Node& node);

/// Nodes that an output of the graph depends on, in order; constants that the graph stores are not
/// among them.
std::vector<size_t> needed_nodes(const Graph& graph);

/// Deepest nesting of subgraphs that is run.
inline constexpr size_t kMaxNesting = 32;

}  // namespace espalier
