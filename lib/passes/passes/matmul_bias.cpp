// An Add of a constant vector goes into the MatMul by a constant before it, which adds it to each
// sum before it is stored.

#include "lib/passes/graph_editor.h"

namespace espalier {
namespace {

// The matrix [K, N] that a node multiplies with, N.
std::optional<int64_t> columns(const GraphEditor& editor, const Node& matmul) {
  const Weight* weight = editor.constant(matmul.inputs.at(1));
  if (weight == nullptr || weight->dtype() != DType::kF32 || weight->shape().size() != 2 ||
      editor.constant(matmul.inputs[0]) != nullptr) {
    return std::nullopt;
  }
  return weight->shape()[1];
}

void match(GraphEditor& editor, size_t root) {
  const Node& add = editor.node(root);
  if (!is_op(add, "Add") || add.inputs.size() != 2) return;
  for (const size_t i : {0, 1}) {
    const auto matmul = editor.own_maker(add.inputs[i], "MatMul");
    const Tensor* bias = editor.f32_constant(add.inputs[1 - i]);
    if (!matmul || bias == nullptr || bias->shape().size() != 1) continue;
    if (columns(editor, editor.node(*matmul)) != bias->shape()[0]) continue;
    const Node& product = editor.node(*matmul);
    Node fused = make_node("MatMul", std::string(kFusedDomain),
                           {product.inputs[0], product.inputs[1], add.inputs[1 - i]}, product);
    return editor.replace(root, std::move(fused), {*matmul});
  }
}

void run(Graph& graph, PassContext& context) {
  GraphEditor editor(graph, context);
  for (size_t i = 0; i < editor.size(); ++i) match(editor, i);
  editor.finish();
}

}  // namespace

constinit const Pass matmul_bias_pass{
    .name = "matmul_bias", .summary = "MatMul + Add of a constant vector", .run = run};

}  // namespace espalier
