// Transpose Q, K, V to heads, softmax(alpha Q K^T + mask) V, Transpose back: one node, which reads
// heads where they lie and keeps the scores of one head at a time.

#include "lib/passes/graph_editor.h"

namespace espalier {
namespace {

using Nodes = std::vector<size_t>;
using Order = std::vector<int64_t>;

// Undoes Mul and Div by numbers on a value that nobody else reads.
ValueId unscaled(const GraphEditor& editor, ValueId value, double& scale, Nodes& nodes) {
  for (size_t depth = 0; depth < 2; ++depth) {
    const auto mul = editor.own_maker(value, "Mul"), div = editor.own_maker(value, "Div");
    if (!mul && !div) return value;
    const size_t made = mul ? *mul : *div;
    const auto parts = editor.with_scalar(editor.node(made));
    if (!parts || (div && (parts->scalar_input != 1 || parts->scalar == 0))) return value;
    scale *= mul ? parts->scalar : 1 / static_cast<double>(parts->scalar);
    nodes.push_back(made);
    value = parts->other;
  }
  return value;
}

// x of Transpose(x) with that order.
std::optional<ValueId> transposed(const GraphEditor& editor, ValueId value, const Order& order,
                                  Nodes& nodes) {
  const auto made = editor.own_maker(value, "Transpose");
  if (!made || ints_attribute(editor.node(*made), "perm", {}) != order) return std::nullopt;
  nodes.push_back(*made);
  return editor.node(*made).inputs[0];
}

const Order kToHeads{0, 2, 1, 3}, kToColumns{0, 2, 3, 1}, kSwapLast{0, 1, 3, 2};

// [batch, places, heads, features] behind K^T.
std::optional<ValueId> keys(const GraphEditor& editor, ValueId value, double& scale, Nodes& nodes) {
  value = unscaled(editor, value, scale, nodes);
  if (const auto x = transposed(editor, value, kToColumns, nodes)) return x;
  const auto swapped = transposed(editor, value, kSwapLast, nodes);
  if (!swapped) return std::nullopt;
  return transposed(editor, unscaled(editor, *swapped, scale, nodes), kToHeads, nodes);
}

struct Scores {
  ValueId q, k, mask = kNoValue;
};

// Q and K of alpha Q K^T.
std::optional<Scores> product(const GraphEditor& editor, ValueId value, double& scale,
                              Nodes& nodes) {
  const auto made = editor.own_maker(unscaled(editor, value, scale, nodes), "MatMul");
  if (!made) return std::nullopt;
  nodes.push_back(*made);
  const auto& inputs = editor.node(*made).inputs;
  const auto q = transposed(editor, unscaled(editor, inputs[0], scale, nodes), kToHeads, nodes);
  if (!q) return std::nullopt;
  const auto k = keys(editor, inputs[1], scale, nodes);
  return k ? std::optional(Scores{*q, *k}) : std::nullopt;
}

// The same with a mask that is added to it, on either side.
std::optional<Scores> scores(const GraphEditor& editor, ValueId value, double& scale,
                             Nodes& nodes) {
  const auto add = editor.own_maker(value, "Add");
  if (!add) return product(editor, value, scale, nodes);
  for (const size_t i : {0, 1}) {
    Nodes inside = nodes;
    double alpha = scale;
    auto found = product(editor, editor.node(*add).inputs[i], alpha, inside);
    if (!found) continue;
    found->mask = editor.node(*add).inputs[1 - i];
    nodes = std::move(inside);
    nodes.push_back(*add);
    scale = alpha;
    return found;
  }
  return std::nullopt;
}

// Over the last axis, which must be the only one that counts (before opset 13 all from `axis` on
// were one).
bool is_over_last(const Node& softmax, int64_t opset) {
  const int64_t axis = int_attribute(softmax, "axis", opset < 13 ? 1 : -1);
  return axis == -1 || axis == 3;
}

void match(GraphEditor& editor, size_t root, int64_t opset) {
  const Node& last = editor.node(root);
  if (!is_op(last, "Transpose") || ints_attribute(last, "perm", {}) != kToHeads) return;
  Nodes nodes;
  const auto outer = editor.own_maker(last.inputs[0], "MatMul");
  if (!outer) return;
  nodes.push_back(*outer);
  const auto softmax = editor.own_maker(editor.node(*outer).inputs[0], "Softmax");
  if (!softmax || !is_over_last(editor.node(*softmax), opset)) return;
  nodes.push_back(*softmax);
  const auto v = transposed(editor, editor.node(*outer).inputs[1], kToHeads, nodes);
  double scale = 1;
  const auto found = scores(editor, editor.node(*softmax).inputs[0], scale, nodes);
  if (!v || !found || !editor.is_f32(found->q)) return;
  const bool plain_mask = found->mask == kNoValue || editor.rank(found->mask).value_or(9) <= 4;
  if (!plain_mask) return;
  Node fused = make_node("Attention", std::string(kFusedDomain), {found->q, found->k, *v},
                         editor.node(*outer));
  if (found->mask != kNoValue) fused.inputs.push_back(found->mask);
  set_attribute(fused, "scale", static_cast<float>(scale));
  editor.replace(root, std::move(fused), nodes);
}

void run(Graph& graph, PassContext& context) {
  GraphEditor editor(graph, context);
  for (size_t i = 0; i < editor.size(); ++i) {
    if (!editor.is_removed(i)) match(editor, i, context.opset);
  }
  editor.finish();
}

}  // namespace

constinit const Pass attention_pass{
    .name = "attention",
    .summary = "Transpose to heads, softmax(alpha Q K^T + mask) V, Transpose back: Attention",
    .run = run};

}  // namespace espalier
