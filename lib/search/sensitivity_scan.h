#pragma once

#include "lib/search/pruned_weights.h"

namespace espalier {

/// Runs the model with each layer (of more than 64, each of 64 groups of neighbours) pruned alone,
/// to a few sparsities, and turns the scores of the layers that share a threshold into how far the
/// outputs move (scores_to_distances), so that they compare across layers.
/// Cost    three prunings and runs per layer or group, twice with two feeds or more.
/// Source  docs/algorithms/allocation.md.
void scan_sensitivity(const Model& model, const PruneData& data, ScoredPlan& scored,
                      ThreadPool& pool);

/// What the model makes of each feed; without streams before the last Softmax, Sigmoid, Tanh or
/// ArgMax of an output: near 0 and 1, probabilities say little of how much was lost, and where two
/// classes are alike, too much. `always_packed`: weights are multiplied as they are packed even
/// where they would run quicker dense, so that the result is that of any machine.
std::vector<Feed> raw_outputs(const Model& model, const DataSet& data,
                              const std::vector<Feed>& feeds, size_t threads,
                              bool always_packed = false);

/// Takes away feeds, and with them their outputs, that hold NaN: nothing can be told by these. All stay
/// where all do.
void drop_nan(std::vector<Feed>& feeds, std::vector<Feed>& outputs);

/// Sum over the outputs of their relative squared error.
double output_distance(const std::vector<Feed>& a, const std::vector<Feed>& b);

}  // namespace espalier
