#pragma once

#include <map>
#include <vector>

#include "lib/ops/operator.h"
#include "lib/runtime/executor.h"

namespace espalier {

/// One node, ready to run.
struct Step {
  Node node;
  Run run;
  std::vector<bool> wanted;  ///< per output: somebody reads it
  std::vector<size_t> last;  ///< per output: the last step that reads it; the end where it is an
                             ///< output of the graph
  double seconds = 0;
};

/// A graph made ready once: constants folded, dead nodes gone, weights repacked by the operators.
struct Program {
  std::vector<Value> values;
  std::vector<ValueId> inputs, outputs;  ///< inputs that a run is fed with; outputs of the graph
  std::vector<Step> steps;
  std::map<ValueId, Tensor> constants;  ///< those that a step or an output still reads, aligned
  std::map<ValueId, TensorView>
      hollow;  ///< constants that operators hold in their own way: type and extents, no elements
  size_t weight_bytes = 0;
};

/// Errors  Fault::kUnsupported naming operator and node that cannot be run.
Program make_program(const Model& model, const ExecutorOptions& options, ThreadPool& pool);

/// "node NAME (Op)", for errors.
std::string node_label(const Node& node);

}  // namespace espalier
