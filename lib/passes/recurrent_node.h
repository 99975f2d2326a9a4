#pragma once

#include <functional>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "lib/passes/loop_step.h"

namespace espalier {

/// GRU, LSTM or RNN in the place of a loop.
struct RecurrentNodes {
  /// A weight of the operator, and the stored constant that it is known by.
  struct Named {
    ValueId value;
    std::string name;
  };
  std::vector<Node> nodes;  ///< the operator, what brings its inputs and outputs into their layouts
  std::vector<Named> weights;
};

/// What the step of a loop is as an operator of ONNX. The graph around gets W [1, gates * H, I], R
/// and B as new constants; X is the sequence as [T, N, I], the part of it that the loop reads.
/// `is_read` tells for each of the node's outputs whether anybody needs it.
/// Nothing, and the graph unchanged, where an output is neither a state nor h of each run, where
/// weights are not dense floats of one type, and where states and sequence cannot have one batch.
std::optional<RecurrentNodes> recurrent_nodes(const Node& loop, const LoopStep& step,
                                              const StepFormula& formula,
                                              const RecurrentStep& found, GraphAround& around,
                                              const std::function<bool(ValueId)>& is_read,
                                              std::unordered_set<std::string>& names);

}  // namespace espalier
