// (x - mean) / sqrt(mean of squares + epsilon) * scale + bias over the last axis, as exporters
// spell it for opsets before 17, becomes one LayerNormalization (arXiv:1607.06450).

#include <algorithm>

#include "lib/passes/graph_editor.h"

namespace espalier {
namespace {

struct Found {
  ValueId x = kNoValue;
  float epsilon = 0;
  std::vector<size_t> nodes;
};

// The mean over the last axis; the number of that axis must be certain.
bool is_mean(const GraphEditor& editor, const Node& mean, const std::optional<size_t>& rank) {
  if (!is_op(mean, "ReduceMean") || int_attribute(mean, "keepdims", 1) != 1) return false;
  std::vector<int64_t> axes = ints_attribute(mean, "axes", {});
  if (mean.inputs.size() > 1 && mean.inputs[1] != kNoValue) {
    const Weight* given = editor.constant(mean.inputs[1]);
    if (given == nullptr || given->is_sparse() || given->dtype() != DType::kI64) return false;
    axes = to_i64(given->dense());
  }
  if (axes.size() != 1) return false;
  return axes[0] == -1 || (rank && axes[0] == static_cast<int64_t>(*rank) - 1);
}

// x of d = x - mean(x).
std::optional<ValueId> centred(const GraphEditor& editor, ValueId d, std::vector<size_t>& nodes) {
  const auto sub = editor.maker(d, "Sub");
  if (!sub) return std::nullopt;
  const ValueId x = editor.node(*sub).inputs[0];
  const auto mean = editor.own_maker(editor.node(*sub).inputs[1], "ReduceMean");
  if (!mean || editor.node(*mean).inputs[0] != x) return std::nullopt;
  if (!is_mean(editor, editor.node(*mean), editor.rank(x))) return std::nullopt;
  nodes.insert(nodes.end(), {*sub, *mean});
  return x;
}

// How often d is read in mean(d * d).
std::optional<size_t> squares(const GraphEditor& editor, ValueId value, ValueId d,
                              std::vector<size_t>& nodes) {
  const auto mean = editor.own_maker(value, "ReduceMean");
  if (!mean || !is_mean(editor, editor.node(*mean), editor.rank(d))) return std::nullopt;
  const ValueId squared = editor.node(*mean).inputs[0];
  const auto pow = editor.own_maker(squared, "Pow"), mul = editor.own_maker(squared, "Mul");
  if (!pow && !mul) return std::nullopt;
  const Node& square = editor.node(pow ? *pow : *mul);
  nodes.insert(nodes.end(), {*mean, pow ? *pow : *mul});
  if (square.inputs[0] != d) return std::nullopt;
  if (mul) return square.inputs[1] == d ? std::optional<size_t>(2) : std::nullopt;
  const auto exponent = editor.scalar_beside(square.inputs[1], d);
  return exponent && *exponent == 2 ? std::optional<size_t>(1) : std::nullopt;
}

// d / sqrt(mean(d * d) + epsilon), which nobody else reads.
std::optional<Found> normalised(const GraphEditor& editor, ValueId value) {
  const auto div = editor.own_maker(value, "Div");
  if (!div) return std::nullopt;
  const ValueId d = editor.node(*div).inputs[0];
  const auto sqrt = editor.own_maker(editor.node(*div).inputs[1], "Sqrt");
  if (!sqrt) return std::nullopt;
  const auto add = editor.own_maker(editor.node(*sqrt).inputs[0], "Add");
  if (!add) return std::nullopt;
  const auto parts = editor.with_scalar(editor.node(*add));
  if (!parts) return std::nullopt;
  Found found{.x = kNoValue, .epsilon = parts->scalar, .nodes = {*div, *sqrt, *add}};
  const auto reads = squares(editor, parts->other, d, found.nodes);
  const auto x = centred(editor, d, found.nodes);
  if (!reads || !x || editor.reads(d) != *reads + 1) return std::nullopt;
  found.x = *x;
  return found;
}

// A constant vector times or plus a value: one for each place of the last axis.
struct WithVector {
  ValueId vector, other;
};
std::optional<WithVector> with_vector(const GraphEditor& editor, const Node& node, const char* op) {
  if (!is_op(node, op) || node.inputs.size() != 2) return std::nullopt;
  for (const size_t i : {1, 0}) {
    const Tensor* tensor = editor.f32_constant(node.inputs[i]);
    if (tensor != nullptr && tensor->shape().size() == 1)
      return WithVector{node.inputs[i], node.inputs[1 - i]};
  }
  return std::nullopt;
}

void match(GraphEditor& editor, size_t root, bool with_bias) {
  size_t mul = root;
  ValueId bias = kNoValue;
  if (with_bias) {
    const auto sum = with_vector(editor, editor.node(root), "Add");
    const auto product = sum ? editor.own_maker(sum->other, "Mul") : std::nullopt;
    if (!product) return;
    mul = *product;
    bias = sum->vector;
  }
  const auto scaled = with_vector(editor, editor.node(mul), "Mul");
  if (!scaled) return;
  if (bias != kNoValue &&
      editor.constant(bias)->shape() != editor.constant(scaled->vector)->shape())
    return;
  auto found = normalised(editor, scaled->other);
  if (!found) return;
  Node norm = make_node("LayerNormalization", std::string(kFusedDomain), {found->x, scaled->vector},
                        editor.node(root));
  if (bias != kNoValue) norm.inputs.push_back(bias);
  set_attribute(norm, "epsilon", found->epsilon);
  if (with_bias) found->nodes.push_back(mul);
  editor.replace(root, std::move(norm), found->nodes);
}

void run(Graph& graph, PassContext& context) {
  GraphEditor editor(graph, context);
  for (const bool with_bias : {true, false}) {
    for (size_t i = 0; i < editor.size(); ++i) {
      if (!editor.is_removed(i)) match(editor, i, with_bias);
    }
  }
  editor.finish();
}

}  // namespace

constinit const Pass layer_norm_pass{
    .name = "layer_norm",
    .summary = "(x - mean) / sqrt(variance + epsilon) * scale + bias: LayerNormalization",
    .run = run};

}  // namespace espalier
