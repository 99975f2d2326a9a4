// Weights that a Loop or Scan carries as states and hands on unchanged are read from the graph
// around by the body, where operators find them as constants.

#include <algorithm>
#include <memory>

#include "lib/ir/uses.h"
#include "lib/passes/graph_editor.h"

namespace espalier {
namespace {

// The states of a loop: where they are among inputs and outputs of the node and of its body.
struct States {
  size_t count = 0, node_input = 0, body_input = 0, body_output = 0;
};

std::optional<States> states_of(const Node& node, const Graph& body, int64_t opset) {
  const bool loop = is_op(node, "Loop") && node.inputs.size() >= 2;
  if (loop) {
    const States states{node.inputs.size() - 2, 2, 2, 1};
    const bool fits =
        body.inputs.size() == node.inputs.size() && body.outputs.size() > states.count;
    return fits ? std::optional(states) : std::nullopt;
  }
  const int64_t scanned = int_attribute(node, "num_scan_inputs", 0);
  const bool scan = is_op(node, "Scan") && opset >= 9 && scanned >= 0 &&
                    static_cast<size_t>(scanned) <= node.inputs.size() &&
                    body.inputs.size() == node.inputs.size();
  if (!scan) return std::nullopt;
  const States states{node.inputs.size() - static_cast<size_t>(scanned), 0, 0, 0};
  return body.outputs.size() >= states.count ? std::optional(states) : std::nullopt;
}

// A value without the Identity nodes that hand it on.
ValueId bare(const Graph& body, ValueId value) {
  for (size_t i = body.nodes.size(); i-- > 0;) {
    const Node& node = body.nodes[i];
    if (is_op(node, "Identity") && node.outputs[0] == value) value = node.inputs[0];
  }
  return value;
}

bool is_matrix_of_floats(const Weight* weight) {
  return weight != nullptr && is_float(weight->dtype()) && weight->shape().size() >= 2;
}

class Opening {
 public:
  Opening(Graph& graph, PassContext& context)
      : graph_(graph), context_(context), scope_(graph, context.outer) {}

  void run() {
    std::vector<Node> nodes;
    for (Node& node : graph_.nodes) {
      open(node);
      nodes.push_back(std::move(node));
      std::ranges::move(handed_on_, std::back_inserter(nodes));
      handed_on_.clear();
    }
    graph_.nodes = std::move(nodes);
  }

 private:
  void open(Node& node) {
    const Graph* given = find_subgraph(node, "body");
    if (given == nullptr) return;
    const std::optional<States> states = states_of(node, *given, context_.opset);
    if (!states) return;
    Graph body = *given;
    bool any = false;
    for (size_t i = states->count; i-- > 0;) {
      if (!is_invariant(node, body, *states, i)) continue;
      close_over(node, body, *states, i);
      any = true;
    }
    if (any) set_attribute(node, "body", std::make_shared<const Graph>(std::move(body)));
  }

  bool is_invariant(const Node& node, const Graph& body, const States& states, size_t i) {
    const ValueId outside = node.inputs[states.node_input + i];
    const ValueId inside = body.inputs[states.body_input + i];
    const ValueId next = body.outputs[states.body_output + i];
    if (outside == kNoValue || bare(body, next) != inside) return false;
    const Scope::Place place = scope_.place_of(outside);
    const bool constant = place.scope != nullptr &&
                          std::ranges::count(place.scope->graph().inputs, place.value) == 0 &&
                          is_matrix_of_floats(find_weight(place.scope->graph(), place.value));
    if (!constant) return false;
    const std::string& name = graph_.values[outside].name;
    const std::string& own = body.values[inside].name;
    // Another value of that name in the body would hide the weight.
    bool hidden = false;
    for_each_graph(body, [&](const Graph& inner, const std::string&) {
      hidden = hidden || (name != own && std::ranges::count(inner.values, name, &Value::name) != 0);
    });
    for (const Node& reader : body.nodes) {
      for (const std::string& captured : captured_by(reader)) hidden = hidden || captured == own;
    }
    return !hidden;
  }

  // The body's input becomes the outer value, the output goes.
  void close_over(Node& node, Graph& body, const States& states, size_t i) {
    const auto at = static_cast<ptrdiff_t>(i);
    const ValueId outside = node.inputs[states.node_input + i];
    const ValueId inside = body.inputs[states.body_input + i];
    body.values[inside] = {graph_.values[outside].name, {}, {}, {}, {}, {}};
    const ValueId next = body.outputs[states.body_output + i];
    body.inputs.erase(body.inputs.begin() + static_cast<ptrdiff_t>(states.body_input) + at);
    body.outputs.erase(body.outputs.begin() + static_cast<ptrdiff_t>(states.body_output) + at);
    drop_identities(body, next);
    node.inputs.erase(node.inputs.begin() + static_cast<ptrdiff_t>(states.node_input) + at);
    if (i >= node.outputs.size()) return;
    const ValueId output = node.outputs[i];
    node.outputs.erase(node.outputs.begin() + at);
    if (output == kNoValue) return;
    Node same = make_node("Identity", "", {outside}, node);
    same.outputs = {output};
    handed_on_.push_back(std::move(same));
  }

  // Identity nodes that only made the output.
  static void drop_identities(Graph& body, ValueId value) {
    for (size_t i = body.nodes.size(); i-- > 0;) {
      const Node& node = body.nodes[i];
      if (!is_op(node, "Identity") || node.outputs[0] != value) continue;
      bool read = std::ranges::count(body.outputs, value) != 0;
      for (const Node& other : body.nodes) {
        read = read || std::ranges::count(other.inputs, value) != 0;
        for (const std::string& name : captured_by(other))
          read = read || name == body.values[value].name;
      }
      if (read) return;
      value = node.inputs[0];
      body.nodes.erase(body.nodes.begin() + static_cast<ptrdiff_t>(i));
    }
  }

  Graph& graph_;
  PassContext& context_;
  Scope scope_;
  std::vector<Node> handed_on_;
};

void run(Graph& graph, PassContext& context) {
  if (std::ranges::any_of(graph.nodes, is_loop)) Opening(graph, context).run();
}

}  // namespace

constinit const Pass loop_invariants_pass{
    .name = "loop_invariants",
    .summary = "weights that a loop hands on unchanged: values of the graph around",
    .run = run};

}  // namespace espalier
