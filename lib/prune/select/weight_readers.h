#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lib/ir/model.h"

namespace espalier {

/// One place where a node reads a weight.
struct WeightReading {
  const Node* node = nullptr;
  std::string label;         ///< node's name with the prefix of its graph, or operator and index
  size_t input = 0;          ///< of the node
  std::optional<Fold> fold;  ///< how this input folds; nothing where it is not prunable
};

/// A prunable input that a weight reaches only through other operators, so that what is multiplied
/// is made anew in every run.
struct IndirectReading {
  const Node* node = nullptr;
  std::string label, through;  ///< "Concat, Unsqueeze"
};

/// A constant of the model, or (weight == nullptr) a value computed at run time that a Conv, GRU,
/// LSTM or RNN takes for its weight and whose shape is declared.
struct WeightUse {
  const Graph* graph = nullptr;
  std::string prefix;  ///< of that graph, as for_each_graph gives it
  ValueId value = 0;
  const Weight* weight = nullptr;
  std::vector<WeightReading> readings;
  std::vector<IndirectReading> indirect;
  bool is_output = false;  ///< of a graph
};

/// Who reads each constant, in the order in which nodes first read them. A node of a subgraph that
/// reads the outer graph's constant is its reader too; Identity is looked through.
std::vector<WeightUse> weight_uses(const Graph& graph);

}  // namespace espalier
