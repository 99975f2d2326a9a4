#include "lib/prune/select/weight_readers.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "lib/ir/node_kinds.h"
#include "lib/ir/scope.h"
#include "lib/ops/default_inputs.h"
#include "lib/ops/operator.h"

namespace espalier {
namespace {

constexpr size_t kDynamic = SIZE_MAX;  // computed while the model runs
constexpr size_t kUnresolved = SIZE_MAX - 1;

// Operators that only move or re-type elements of their first input (Concat: of all).
bool moves_elements(const Node& node) {
  constexpr auto kMoving = std::to_array<std::string_view>(
      {"Cast", "Concat", "DequantizeLinear", "Flatten", "QuantizeLinear", "Reshape", "Slice",
       "Split", "Squeeze", "Transpose", "Unsqueeze"});
  return is_default_domain(node) && std::ranges::find(kMoving, node.op) != kMoving.end();
}

// Whether the input is a weight by the operator's definition, whatever its shape.
bool is_weight_input(const Node& node, size_t input) {
  if (!is_default_domain(node)) return false;
  if (is_recurrent(node.op)) return input == 1 || input == 2;
  return input == 1 && (node.op == "Conv" || node.op == "ConvTranspose" || node.op == "Gemm" ||
                        node.op == "MatMul");
}

// A graph on the way from the outermost to the one being walked.
struct WalkedGraph : Scope {
  const std::string& prefix;
  std::vector<size_t> uses;         // per value: index into uses, kDynamic or kUnresolved
  std::vector<const Node*> makers;  // per value

  WalkedGraph(const Graph& graph, const std::string& prefix, WalkedGraph* outer)
      : Scope(graph, outer),
        prefix(prefix),
        uses(graph.values.size(), kUnresolved),
        makers(graph.values.size(), nullptr) {
    for (const ValueId input : graph.inputs) uses[input] = kDynamic;
    for (const Node& node : graph.nodes) {
      for (const ValueId output : node.outputs) {
        if (output == kNoValue) continue;
        makers[output] = &node;
        if (!is_op(node, "Identity")) uses[output] = kDynamic;
      }
    }
    for (const auto& [value, weight] : graph.weights) uses[value] = kUnresolved;
    for (const ValueId input : kept_default_inputs(graph)) uses[input] = kDynamic;
  }
};

class Walk {
 public:
  std::vector<WeightUse> uses;

  void graph(const Graph& graph, const std::string& prefix, WalkedGraph* outer) {
    WalkedGraph scope(graph, prefix, outer);
    for (size_t i = 0; i < graph.nodes.size(); ++i) node(scope, graph.nodes[i], i);
    for (const ValueId output : graph.outputs) {
      const size_t use = resolve(scope, output);
      if (use != kDynamic) uses[use].is_output = true;
    }
  }

 private:
  using Place = PlaceIn<WalkedGraph>;

  // The use of the constant behind `value`, made where this is its first reading; kDynamic where
  // there is none. Goes through Identity nodes and out to the graphs around, and notes the answer
  // for every value on the way.
  size_t resolve(WalkedGraph& scope, ValueId value) {
    WalkedGraph* at = &scope;
    std::vector<Place> way;
    size_t found = kDynamic;
    while (true) {
      way.push_back({at, value});
      if (at->uses[value] != kUnresolved) {
        found = at->uses[value];
        break;
      }
      if (const Weight* weight = find_weight(at->graph(), value)) {
        found = add(*at, value, weight);
        break;
      }
      if (const Node* identity = at->makers[value]) {
        if (identity->inputs.empty() || identity->inputs[0] == kNoValue) break;
        at->uses[value] = kDynamic;  // ends a cycle that a broken graph may hold
        value = identity->inputs[0];
        continue;
      }
      const Place outside = place_in(*at, value);
      if (outside.scope == nullptr) break;
      at = outside.scope;
      value = outside.value;
    }
    for (const Place& place : way) place.scope->uses[place.value] = found;
    return found;
  }

  size_t add(const WalkedGraph& scope, ValueId value, const Weight* weight) {
    WeightUse use;
    use.graph = &scope.graph();
    use.prefix = scope.prefix;
    use.value = value;
    use.weight = weight;
    uses.push_back(std::move(use));
    return uses.size() - 1;
  }

  void node(WalkedGraph& scope, const Node& node, size_t index) {
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (node.inputs[i] != kNoValue && !is_op(node, "Identity")) input(scope, node, index, i);
    }
    for (const Attribute& attribute : node.attributes) {
      const Graph* sub = subgraph_of(attribute);
      if (sub == nullptr) continue;
      graph(*sub, scope.prefix + path_step(node, index) + "/" + attribute.name + "/", &scope);
    }
  }

  void input(WalkedGraph& scope, const Node& node, size_t index, size_t input) {
    const std::string label = scope.prefix + path_step(node, index);
    const size_t use = resolve(scope, node.inputs[input]);
    if (use == kDynamic) {
      if (is_weight_input(node, input)) computed(scope, node, label, input);
      return;
    }
    const Operator* op = find_operator(node.op, node.domain);
    WeightReading reading{&node, label, input, {}};
    const Shape& shape = uses[use].weight->shape();
    if (op != nullptr && op->fold != nullptr) reading.fold = op->fold(node, input, shape);
    if (reading.fold && reading.fold->count() != element_count(shape)) reading.fold.reset();
    uses[use].readings.push_back(std::move(reading));
  }

  // A weight that is made by other nodes: of constants alone, or in any way where the operator
  // takes nothing but parameters there.
  void computed(WalkedGraph& scope, const Node& node, const std::string& label, size_t input) {
    std::vector<size_t> sources;
    std::string through;
    if (trace(scope, node.inputs[input], sources, through)) {
      for (const size_t source : sources) {
        auto& indirect = uses[source].indirect;
        if (indirect.empty() || indirect.back().node != &node)
          indirect.push_back({&node, label, through});
      }
      return;
    }
    // What other nodes make is an activation to them: a product of two of these.
    if ((node.op == "MatMul" || node.op == "Gemm") && !is_given(scope, node.inputs[input])) return;
    const auto& shape = scope.graph().values[node.inputs[input]].shape;
    const Operator* op = find_operator(node.op, node.domain);
    if (!shape || std::ranges::count_if(*shape, [](int64_t d) { return d < 0; }) != 0) return;
    if (op == nullptr || op->fold == nullptr || !op->fold(node, input, *shape)) return;
    const size_t use = add(scope, node.inputs[input], nullptr);
    uses[use].readings.push_back({&node, label, input, op->fold(node, input, *shape)});
  }

  // Whether a value is an input of its graph: of the model, or a state of a loop.
  static bool is_given(const WalkedGraph& scope, ValueId value) {
    return std::ranges::count(scope.graph().inputs, value) != 0;
  }

  // Follows `value` back through operators that move elements; false where it meets anything else.
  bool trace(WalkedGraph& scope, ValueId value, std::vector<size_t>& sources,
             std::string& through) {
    constexpr size_t kMaxSteps = 256;
    std::vector<Place> open{{&scope, value}};
    std::vector<std::string> names;
    for (size_t step = 0; !open.empty(); ++step) {
      if (step == kMaxSteps) return false;
      const Place place = place_in(*open.back().scope, open.back().value);
      open.pop_back();
      if (place.scope == nullptr) return false;
      const size_t use = resolve(*place.scope, place.value);
      if (use != kDynamic) {
        if (std::ranges::count(sources, use) == 0) sources.push_back(use);
        continue;
      }
      const Node* maker = place.scope->makers[place.value];
      if (maker == nullptr) return false;
      const bool identity = is_op(*maker, "Identity");
      if (!identity && !moves_elements(*maker)) return false;
      if (!identity && std::ranges::count(names, maker->op) == 0) names.push_back(maker->op);
      const size_t data = maker->op == "Concat" ? maker->inputs.size() : 1;
      for (size_t i = 0; i < std::min(data, maker->inputs.size()); ++i) {
        if (maker->inputs[i] == kNoValue) return false;
        open.push_back({place.scope, maker->inputs[i]});
      }
    }
    for (auto name = names.rbegin(); name != names.rend(); ++name)
      through += (through.empty() ? "" : ", ") + *name;
    return true;
  }
};

}  // namespace

std::vector<WeightUse> weight_uses(const Graph& graph) {
  Walk walk;
  walk.graph(graph, "", nullptr);
  return std::move(walk.uses);
}

}  // namespace espalier
