// Functions of each element, and Mul and Add by a number, become stages of the product (Conv,
// MatMul, Gemm) before them, which runs them on what it has just written.

#include <limits>

#include "lib/ops/epilogue.h"
#include "lib/passes/graph_editor.h"

namespace espalier {
namespace {

std::optional<float> bound(const GraphEditor& editor, const Node& clip, size_t input,
                           const char* attribute, float fallback) {
  if (clip.inputs.size() > input && clip.inputs[input] != kNoValue)
    return editor.scalar_beside(clip.inputs[input], clip.inputs[0]);
  return float_attribute(clip, attribute, fallback);
}

// The stage that a node is, and which of its inputs it is a function of.
struct Use {
  EpilogueStage stage;
  ValueId input;
};
std::optional<Use> use_of(const GraphEditor& editor, const Node& node) {
  if (!node.domain.empty() && node.domain != "ai.onnx") return std::nullopt;
  if (node.inputs.empty() || node.outputs.size() != 1) return std::nullopt;
  if (node.op == "Add" || node.op == "Mul") {
    const auto parts = editor.with_scalar(node);
    if (!parts) return std::nullopt;
    const bool add = node.op == "Add";
    return Use{{"Affine", add ? 1 : parts->scalar, add ? parts->scalar : 0}, parts->other};
  }
  if (node.op == "Clip") {
    const auto low = bound(editor, node, 1, "min", std::numeric_limits<float>::lowest());
    const auto high = bound(editor, node, 2, "max", std::numeric_limits<float>::max());
    if (!low || !high) return std::nullopt;
    return Use{{"Clip", *low, *high}, node.inputs[0]};
  }
  const auto stage = unary_stage(node);
  if (!stage || node.inputs.size() != 1) return std::nullopt;
  return Use{*stage, node.inputs[0]};
}

bool is_product(const GraphEditor& editor, const Node& node) {
  if (node.inputs.size() < 2 || editor.constant(node.inputs[0]) != nullptr) return false;
  if (node.op != "Conv" && node.op != "MatMul" && node.op != "Gemm") return false;
  const Weight* weight = editor.constant(node.inputs[1]);
  return weight != nullptr && weight->dtype() == DType::kF32 && weight->shape().size() >= 2;
}

void match(GraphEditor& editor, size_t root) {
  const auto use = use_of(editor, editor.node(root));
  if (!use || editor.reads(use->input) != 1) return;
  const auto made = editor.maker(use->input);
  if (!made || editor.node(*made).outputs.size() != 1) return;
  const Node& product = editor.node(*made);
  const bool known =
      product.domain.empty() || product.domain == "ai.onnx" || product.domain == kFusedDomain;
  if (!known || !is_product(editor, product)) return;
  Node fused = product;
  fused.domain = kFusedDomain;
  if (!add_stage(fused, use->stage)) return;
  editor.replace(root, std::move(fused), {*made});
}

void run(Graph& graph, PassContext& context) {
  GraphEditor editor(graph, context);
  for (size_t i = 0; i < editor.size(); ++i) match(editor, i);
  editor.finish();
}

}  // namespace

constinit const Pass activation_pass{
    .name = "activation",
    .summary = "functions of each element: into the Conv, MatMul or Gemm before them",
    .run = run};

}  // namespace espalier
