// Nodes whose inputs are all known are run once, and their outputs become constants.

#include <algorithm>

#include "lib/base/error.h"
#include "lib/ops/run_once.h"
#include "lib/passes/graph_editor.h"

namespace espalier {
namespace {

// Runs the node and stores its outputs as constants. False where an input is not known, where the
// results would take too much memory, and where the node fails: it may be in a branch that is never
// taken, and tells when it runs.
bool make_constants(const GraphEditor& editor, const Node& node, Graph& graph,
                    PassContext& context) {
  const Operator* entry = find_operator(node.op, node.domain);
  if (entry == nullptr || entry->prepare == nullptr) return false;
  std::vector<const Weight*> inputs;
  for (const ValueId input : node.inputs) {
    inputs.push_back(editor.constant(input));
    if (input != kNoValue && inputs.back() == nullptr) return false;
  }
  if (is_op(node, "Identity") && inputs.size() == 1 && inputs[0]->is_sparse()) {
    graph.weights[node.outputs[0]] = {inputs[0]->value, {}};  // stays packed
    return true;
  }
  std::optional<std::vector<Tensor>> results;
  try {
    results =
        run_once(*entry, node, context.opset, inputs, context.pool, context.constant_folding_bytes);
  } catch (const Error&) {
    return false;
  }
  if (!results) return false;
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    if (node.outputs[i] == kNoValue) continue;
    const size_t bytes = (*results)[i].bytes().size();
    context.constant_folding_bytes -= std::min(context.constant_folding_bytes, bytes);
    graph.weights[node.outputs[i]] = {std::move((*results)[i]), {}};
  }
  return true;
}

bool is_stored(const Graph& graph, const Node& node) {
  return std::ranges::any_of(node.outputs,
                             [&](ValueId output) { return graph.weights.contains(output); });
}

void run(Graph& graph, PassContext& context) {
  const GraphEditor editor(graph, context);
  std::vector<bool> folded(graph.nodes.size(), false);
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    folded[i] = !is_stored(graph, node) && make_constants(editor, node, graph, context);
  }
  size_t index = 0;
  std::erase_if(graph.nodes, [&](const Node&) { return folded[index++]; });
}

}  // namespace

constinit const Pass fold_constants_pass{
    .name = "fold_constants", .summary = "what can be known before the first run", .run = run};

}  // namespace espalier
