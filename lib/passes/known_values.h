#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "lib/base/thread_pool.h"
#include "lib/ir/model.h"
#include "lib/ir/scope.h"
#include "lib/ops/operator.h"
#include "lib/sparse/sparse_matrix.h"

namespace espalier {

/// A value made of constants, and the float constants that it is made of; of a weight behind
/// DequantizeLinear the integers, which are `packed` as they are.
struct Made {
  Tensor value;
  std::set<const Weight*> sources;
  std::optional<SparseMatrix> packed;
};

/// A graph of the model, and what is found out about its values.
struct KnownGraph : Scope {
  std::vector<bool> input;   ///< of the graph: no constant, even where it has a default
  std::vector<bool> known;   ///< could be made before the first run
  std::vector<bool> needed;  ///< known, and on the way to a weight
  std::map<ValueId, Made> made;
  /// By node and attribute.
  std::map<std::pair<size_t, size_t>, std::unique_ptr<KnownGraph>> inner;

  KnownGraph(const Graph& graph, KnownGraph* outer)
      : Scope(graph, outer),
        input(graph.values.size(), false),
        known(graph.values.size(), false),
        needed(graph.values.size(), false) {
    for (const ValueId value : graph.inputs) input[value] = true;
  }
};

using Place = PlaceIn<KnownGraph>;

/// The graphs of a model, outermost first, with nothing found out yet.
///
/// Errors  Fault::kUnsupported where subgraphs are nested too deep.
std::unique_ptr<KnownGraph> known_graph(const Graph& graph);

/// Computes what is made of constants alone, and on the way to a weight of an operator, into `made`.
///
/// Cost    results take kConstantFoldingBytes at most; what would pass that is not made.
void evaluate_known(KnownGraph& graph, int64_t opset, ThreadPool& pool);

/// The constant at a place; nullptr where it is none.
const Weight* weight_at(const Place& place);

/// The operator of a node that can be run outside of its graph; nullptr where it can't.
const Operator* runnable_operator(const Node& node);

/// Calls visit(node, index) in order, or backwards, and descend(inner scope) for its subgraphs.
template <typename Visit, typename Descend>
void walk(KnownGraph& scope, bool backwards, const Visit& visit, const Descend& descend) {
  const size_t count = scope.graph().nodes.size();
  for (size_t step = 0; step < count; ++step) {
    const size_t i = backwards ? count - 1 - step : step;
    if (!backwards) visit(scope.graph().nodes[i], i);
    for (auto at = scope.inner.lower_bound({i, 0}); at != scope.inner.end() && at->first.first == i;
         ++at) {
      descend(*at->second);
    }
    if (backwards) visit(scope.graph().nodes[i], i);
  }
}

}  // namespace espalier
