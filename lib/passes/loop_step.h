#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lib/ops/recurrent_step.h"
#include "lib/passes/graph_around.h"

namespace espalier {

/// A Loop or Scan over sequences: what its body is given, what of it is the same in all runs, and
/// what the node's outputs are.
struct LoopStep {
  /// A value [T, N, I] (axis 0) or [N, T, I] (axis 1) of the graph around, of which each run gets
  /// one step.
  struct Sequence {
    size_t input = 0;  ///< of the formula
    ValueId data = kNoValue;
    size_t axis = 0;
    bool backwards = false;
  };
  /// An output of the node: the last of a state (`state`), a value of each run (`value`), what the
  /// loop was given (`given`), or a count (`count`).
  struct Output {
    std::optional<size_t> state;
    ValueId value = kNoValue;
    bool backwards = false;  ///< stacked from the last run to the first
    size_t axis = 0;         ///< along which values are stacked
    ValueId given = kNoValue;
    std::optional<int64_t> count;
    DType count_dtype = DType::kI64;
  };

  const Graph* body = nullptr;
  std::vector<StepInput> inputs;
  std::vector<StepConstant> constants;
  /// Of each constant that was given: the stored constants that it is made of, and their bytes.
  std::vector<std::vector<std::pair<std::string, size_t>>> sources;
  std::vector<Sequence> sequences;
  std::vector<StepState> states;
  std::vector<ValueId> initial;  ///< of the graph around, for each state
  std::vector<Output> outputs;
  DType dtype = DType::kUnknown;  ///< of the states
  /// How many runs a Loop makes: a number, or that value of the graph around; a Scan has neither.
  std::optional<int64_t> trips;
  ValueId trips_value = kNoValue;
};

/// Nothing where the number of runs is not known, a state is neither passed on as it is nor a count
/// nor one of at most two vectors, or no sequence is read.
std::optional<LoopStep> loop_step(const Node& node, GraphAround& around);

}  // namespace espalier
