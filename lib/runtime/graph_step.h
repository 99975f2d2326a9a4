#pragma once

// Inside lib/runtime only: one node as the runner runs it.

#include "lib/ir/uses.h"
#include "lib/runtime/graph_runner.h"

namespace espalier {

struct GraphRunner::Step {
  std::string op, name, label;  ///< label: "node NAME (Op)", for errors
  size_t node = 0;              ///< as NodeTime has it
  std::vector<ValueId> inputs, outputs;
  std::vector<size_t> last_use;  ///< per output: the last step that reads it
  Run run;
};

/// "node NAME (Op)"; a node without a name is called by its place.
std::string label_of(const Node& node, size_t place);

}  // namespace espalier
