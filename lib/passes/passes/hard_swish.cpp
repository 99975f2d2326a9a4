// x * min(max(x + 3, 0), 6) / 6 and x * HardSigmoid(x; 1/6, 1/2) become HardSwish (ONNX operator
// 14; arXiv:1905.02244).

#include <algorithm>

#include "lib/passes/graph_editor.h"

namespace espalier {
namespace {

std::optional<float> bound(const GraphEditor& editor, const Node& clip, size_t input,
                           const char* attribute, ValueId x) {
  if (clip.inputs.size() > input && clip.inputs[input] != kNoValue)
    return editor.scalar_beside(clip.inputs[input], x);
  if (find_attribute(clip, attribute) == nullptr) return std::nullopt;
  return float_attribute(clip, attribute, 0);
}

// min(max(x + 3, 0), 6), or Relu6 spelled as a Clip.
bool is_clip(const GraphEditor& editor, ValueId value, ValueId x, std::vector<size_t>& nodes) {
  const auto clip = editor.own_maker(value, "Clip");
  if (!clip) return false;
  const Node& node = editor.node(*clip);
  const auto low = bound(editor, node, 1, "min", x), high = bound(editor, node, 2, "max", x);
  if (!low || !high || *low != 0 || *high != 6) return false;
  const auto add = editor.own_maker(node.inputs[0], "Add");
  if (!add) return false;
  const auto parts = editor.with_scalar(editor.node(*add));
  if (!parts || parts->other != x || parts->scalar != 3) return false;
  nodes.insert(nodes.end(), {*clip, *add});
  return true;
}

bool is_hard_sigmoid(const GraphEditor& editor, ValueId value, ValueId x,
                     std::vector<size_t>& nodes) {
  const auto made = editor.own_maker(value, "HardSigmoid");
  if (!made || editor.node(*made).inputs[0] != x || !editor.is_f32(x)) return false;
  nodes.push_back(*made);
  const Node& node = editor.node(*made);
  return near(float_attribute(node, "alpha", 0.2F), 1.0 / 6) &&
         float_attribute(node, "beta", 0.5F) == 0.5F;
}

void match(GraphEditor& editor, size_t root) {
  const Factors outer = factors_of(editor, root);
  if (outer.values.size() != 2) return;
  for (const size_t i : {0, 1}) {
    const ValueId x = outer.values[i], gate = outer.values[1 - i];
    std::vector<size_t> nodes = outer.interior;
    const bool found = (near(outer.scale, 1.0 / 6) && is_clip(editor, gate, x, nodes)) ||
                       (outer.scale == 1 && is_hard_sigmoid(editor, gate, x, nodes));
    if (!found) continue;
    return editor.replace(root, make_node("HardSwish", "", {x}, editor.node(root)), nodes);
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

constinit const Pass hard_swish_pass{
    .name = "hard_swish",
    .summary = "x * min(max(x + 3, 0), 6) / 6, x * HardSigmoid(x): HardSwish",
    .run = run};

}  // namespace espalier
