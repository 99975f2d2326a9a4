#pragma once

#include <optional>
#include <vector>

#include "lib/verify/data.h"

namespace espalier {

/// A weight that something else is to be measured in place of: input `input` of the node that reads
/// `value`.
struct Replacement {
  ValueId value = 0;
  size_t input = 0;
  Tensor weight;
  /// A constant that changes with it: another input of that node, or of the node that adds it to
  /// that node's output (whose output is then the one looked at).
  std::optional<ValueId> bias_value;
  Tensor bias;
};

/// What each replacement alone does to its node's first output, the node's inputs being those of
/// the unchanged model: root of sum (y - y')^2 over sum y^2, over the feeds. Nothing where the node
/// cannot be found or its output is zero throughout. Looks at the graph itself, not at subgraphs.
std::vector<std::optional<double>> output_errors(const Model& model,
                                                 const std::vector<Replacement>& replacements,
                                                 const DataSet& data,
                                                 const std::vector<Feed>& feeds,
                                                 const ExecutorOptions& options);

/// Index of the node that reads `value` as input `input`, the first one.
std::optional<size_t> reader_of(const Graph& graph, ValueId value, size_t input);

}  // namespace espalier
