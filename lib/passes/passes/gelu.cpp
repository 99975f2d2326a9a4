// x / 2 * (1 + erf(x / sqrt 2)), and its form with tanh, as exporters spell them, become Gelu
// (ONNX operator 20; arXiv:1606.08415).

#include <algorithm>
#include <cmath>
#include <numbers>

#include "lib/passes/graph_editor.h"

namespace espalier {
namespace {

// What a pattern has found: the nodes that go.
using Nodes = std::vector<size_t>;

// 1 + value, for a value that nobody else reads.
std::optional<ValueId> less_one(const GraphEditor& editor, ValueId sum, Nodes& nodes) {
  const auto add = editor.own_maker(sum, "Add");
  if (!add) return std::nullopt;
  const auto parts = editor.with_scalar(editor.node(*add));
  if (!parts || !near(parts->scalar, 1)) return std::nullopt;
  nodes.push_back(*add);
  return parts->other;
}

// The factors of a value that nobody else reads.
std::optional<Factors> own_factors(const GraphEditor& editor, ValueId value, Nodes& nodes) {
  const auto made = editor.maker(value);
  if (!made || editor.reads(value) != 1) return std::nullopt;
  Factors factors = factors_of(editor, *made);
  if (factors.values.empty()) return std::nullopt;
  nodes.push_back(*made);
  nodes.insert(nodes.end(), factors.interior.begin(), factors.interior.end());
  return factors;
}

bool is_erf(const GraphEditor& editor, ValueId gate, ValueId x, Nodes& nodes) {
  const auto erf = editor.own_maker(gate, "Erf");
  if (!erf) return false;
  nodes.push_back(*erf);
  const auto inner = own_factors(editor, editor.node(*erf).inputs[0], nodes);
  return inner && inner->values == std::vector<ValueId>{x} &&
         near(inner->scale, 1 / std::numbers::sqrt2);
}

// 0.044715 x^2 (power 2) or x^3.
bool is_power(const GraphEditor& editor, ValueId value, ValueId x, size_t power, Nodes& nodes) {
  auto factors = own_factors(editor, value, nodes);
  if (!factors || !near(factors->scale, 0.044715)) return false;
  if (factors->values.size() == 1) {
    const auto pow = editor.own_maker(factors->values[0], "Pow");
    if (!pow || editor.node(*pow).inputs[0] != x) return false;
    const auto exponent = editor.scalar_beside(editor.node(*pow).inputs[1], x);
    nodes.push_back(*pow);
    return exponent && *exponent == static_cast<float>(power);
  }
  return factors->values == std::vector<ValueId>(power, x);
}

// tanh(sqrt(2 / pi) * (x + 0.044715 x^3)), also with x taken out.
bool is_tanh(const GraphEditor& editor, ValueId gate, ValueId x, Nodes& nodes) {
  const auto tanh = editor.own_maker(gate, "Tanh");
  if (!tanh) return false;
  nodes.push_back(*tanh);
  const auto inner = own_factors(editor, editor.node(*tanh).inputs[0], nodes);
  if (!inner || !near(inner->scale, std::sqrt(2 / std::numbers::pi))) return false;
  if (inner->values.size() == 1) {
    const auto add = editor.own_maker(inner->values[0], "Add");
    if (!add) return false;
    nodes.push_back(*add);
    const auto& terms = editor.node(*add).inputs;
    return (terms[0] == x && is_power(editor, terms[1], x, 3, nodes)) ||
           (terms[1] == x && is_power(editor, terms[0], x, 3, nodes));
  }
  if (inner->values.size() != 2 || std::ranges::count(inner->values, x) != 1) return false;
  const auto rest = less_one(editor, inner->values[inner->values[0] == x ? 1 : 0], nodes);
  return rest && is_power(editor, *rest, x, 2, nodes);
}

void match(GraphEditor& editor, size_t root) {
  const Factors outer = factors_of(editor, root);
  if (outer.values.size() != 2 || !near(outer.scale, 0.5)) return;
  for (const size_t i : {0, 1}) {
    const ValueId x = outer.values[i];
    for (const bool erf : {true, false}) {
      Nodes nodes = outer.interior;
      const auto gate = less_one(editor, outer.values[1 - i], nodes);
      if (!gate) break;
      const bool found = erf ? is_erf(editor, *gate, x, nodes) : is_tanh(editor, *gate, x, nodes);
      if (!found) continue;
      Node gelu = make_node("Gelu", "", {x}, editor.node(root));
      if (!erf) set_attribute(gelu, "approximate", std::string("tanh"));
      return editor.replace(root, std::move(gelu), nodes);
    }
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

constinit const Pass gelu_pass{
    .name = "gelu", .summary = "x / 2 * (1 + erf(x / sqrt 2)), and with tanh: Gelu", .run = run};

}  // namespace espalier
