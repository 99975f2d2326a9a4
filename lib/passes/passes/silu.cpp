// x * sigmoid(alpha x) becomes Swish (ONNX operator 24), SiLU for alpha = 1.

#include "lib/passes/graph_editor.h"

namespace espalier {
namespace {

// The gate's alpha, and the node between x and the sigmoid.
struct Gate {
  size_t sigmoid;
  std::optional<size_t> scaling;
  float alpha = 1;
};

std::optional<Gate> gate_of(const GraphEditor& editor, ValueId value, ValueId x) {
  const auto sigmoid = editor.own_maker(value, "Sigmoid");
  if (!sigmoid) return std::nullopt;
  const ValueId inside = editor.node(*sigmoid).inputs[0];
  if (inside == x) return Gate{*sigmoid, {}, 1};
  const auto scaling = editor.own_maker(inside, "Mul");
  if (!scaling) return std::nullopt;
  const auto parts = editor.with_scalar(editor.node(*scaling));
  if (!parts || parts->other != x) return std::nullopt;
  return Gate{*sigmoid, scaling, parts->scalar};
}

void match(GraphEditor& editor, size_t root) {
  const Node& node = editor.node(root);
  if (!is_op(node, "Mul") || node.inputs.size() != 2) return;
  for (const size_t i : {0, 1}) {
    const ValueId x = node.inputs[i];
    const auto gate = gate_of(editor, node.inputs[1 - i], x);
    // Rounding once instead of twice is more than rounding in narrower types.
    if (!gate || !editor.is_f32(x)) continue;
    Node swish = make_node("Swish", "", {x}, node);
    if (gate->alpha != 1) set_attribute(swish, "alpha", gate->alpha);
    std::vector<size_t> others{gate->sigmoid};
    if (gate->scaling) others.push_back(*gate->scaling);
    return editor.replace(root, std::move(swish), others);
  }
}

void run(Graph& graph, PassContext& context) {
  GraphEditor editor(graph, context);
  for (size_t i = 0; i < editor.size(); ++i) {
    if (!editor.is_removed(i)) match(editor, i);
  }
  editor.finish();
}

}  // namespace

constinit const Pass silu_pass{
    .name = "silu", .summary = "x * sigmoid(alpha x): Swish", .run = run};

}  // namespace espalier
