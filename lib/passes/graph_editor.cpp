#include "lib/passes/graph_editor.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "lib/ir/uses.h"

namespace espalier {
namespace {

constexpr size_t kNobody = SIZE_MAX;
constexpr size_t kDepth = 32;  // how far back types and ranks are asked for

// Operators whose output is of the type of each of their inputs.
constexpr std::array<std::string_view, 31> kKeepTypes{
    "Add",         "Sub",       "Mul",           "Div",       "Relu",        "Sigmoid",   "Tanh",
    "Softmax",     "Gelu",      "Swish",         "HardSwish", "HardSigmoid", "LeakyRelu", "Elu",
    "Softplus",    "Sqrt",      "Exp",           "Erf",       "Neg",         "Abs",       "MatMul",
    "Gemm",        "Conv",      "ConvTranspose", "Concat",    "Identity",    "Max",       "Min",
    "AveragePool", "Transpose", "Clip"};
// The same, of the first input alone; the others may be integers.
constexpr std::array<std::string_view, 11> kKeepFirst{"Reshape",
                                                      "Unsqueeze",
                                                      "Squeeze",
                                                      "Slice",
                                                      "Flatten",
                                                      "MaxPool",
                                                      "GlobalAveragePool",
                                                      "BatchNormalization",
                                                      "Dropout",
                                                      "LayerNormalization",
                                                      "Pow"};
// Operators whose output has as many axes as their first input, or as the inputs' most.
constexpr std::array<std::string_view, 25> kKeepRank{"BatchNormalization",
                                                     "LayerNormalization",
                                                     "GlobalAveragePool",
                                                     "MaxPool",
                                                     "AveragePool",
                                                     "Transpose",
                                                     "Clip",
                                                     "Relu",
                                                     "Sigmoid",
                                                     "Tanh",
                                                     "Softmax",
                                                     "Gelu",
                                                     "Swish",
                                                     "HardSwish",
                                                     "HardSigmoid",
                                                     "LeakyRelu",
                                                     "Elu",
                                                     "Sqrt",
                                                     "Exp",
                                                     "Erf",
                                                     "Neg",
                                                     "Abs",
                                                     "Identity",
                                                     "Softplus",
                                                     "Cast"};
constexpr std::array<std::string_view, 5> kBroadcast{"Add", "Sub", "Mul", "Div", "Pow"};

bool is_one_of(std::string_view op, const auto& list) { return std::ranges::count(list, op) != 0; }

bool is_own(const Node& node) { return is_default_domain(node) || node.domain == kFusedDomain; }

}  // namespace

GraphEditor::GraphEditor(Graph& graph, PassContext& context)
    : graph_(graph),
      context_(context),
      makers_(graph.values.size(), kNobody),
      reads_(graph.values.size(), 0),
      is_input_(graph.values.size(), false),
      removed_(graph.nodes.size(), false),
      given_values_(graph.values.size()) {
  std::optional<Scope> scope;  // made when the first subgraph asks
  for (const ValueId input : graph.inputs) is_input_[input] = true;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    for (const ValueId output : graph.nodes[i].outputs) {
      if (output != kNoValue) makers_[output] = i;
    }
  }
  for (const ValueId output : graph.outputs) ++reads_[output];
  for (const Node& node : graph.nodes) {
    for (const ValueId input : node.inputs) {
      if (input != kNoValue) ++reads_[input];
    }
    for (const std::string& name : captured_by(node)) {
      if (!scope) scope.emplace(graph);
      if (const std::optional<ValueId> value = scope->find(name)) ++reads_[*value];
    }
  }
}

std::optional<size_t> GraphEditor::maker(ValueId value) const {
  // Of a constant that a node stores nobody is the maker: what matters is its value.
  if (value == kNoValue || value >= makers_.size() || makers_[value] == kNobody ||
      graph_.weights.contains(value)) {
    return std::nullopt;
  }
  return makers_[value];
}

std::optional<size_t> GraphEditor::maker(ValueId value, std::string_view op) const {
  const std::optional<size_t> made = maker(value);
  return made && is_op(node(*made), op) ? made : std::nullopt;
}

std::optional<size_t> GraphEditor::own_maker(ValueId value, std::string_view op) const {
  const std::optional<size_t> made = maker(value, op);
  return made && reads_[value] == 1 && node(*made).outputs.size() == 1 ? made : std::nullopt;
}

const Weight* GraphEditor::constant(ValueId value) const {
  if (value == kNoValue) return nullptr;
  if (const Weight* own = find_weight(graph_, value); own != nullptr) return own;
  if (value >= makers_.size() || makers_[value] != kNobody || is_input_[value]) return nullptr;
  if (context_.outer == nullptr) return nullptr;
  const Scope::Place place = context_.outer->place_of(graph_.values[value].name);
  return place.scope == nullptr ? nullptr : find_weight(place.scope->graph(), place.value);
}

const Tensor* GraphEditor::f32_constant(ValueId value) const {
  const Weight* weight = constant(value);
  if (weight == nullptr || weight->is_sparse() || weight->dtype() != DType::kF32) return nullptr;
  return &weight->dense();
}

std::optional<float> GraphEditor::scalar_beside(ValueId value, ValueId other) const {
  const Tensor* tensor = f32_constant(value);
  if (tensor == nullptr || tensor->count() != 1) return std::nullopt;
  if (tensor->shape().size() > least_rank(other)) return std::nullopt;
  return to_f32(*tensor)[0];
}

std::optional<GraphEditor::WithScalar> GraphEditor::with_scalar(const Node& node) const {
  if (node.inputs.size() != 2) return std::nullopt;
  for (const size_t i : {1, 0}) {
    const ValueId other = node.inputs[1 - i];
    if (const auto scalar = scalar_beside(node.inputs[i], other)) return {{*scalar, other, i}};
  }
  return std::nullopt;
}

bool GraphEditor::f32_of(ValueId value, size_t depth) const {
  if (value == kNoValue || depth > kDepth) return false;
  const auto known = f32_.find(value);
  if (known != f32_.end()) return known->second;
  return f32_[value] = finds_f32(value, depth);
}

bool GraphEditor::finds_f32(ValueId value, size_t depth) const {
  if (const Weight* weight = constant(value); weight != nullptr) {
    return weight->dtype() == DType::kF32;
  }
  if (value >= makers_.size()) return false;
  if (graph_.values[value].dtype != DType::kUnknown)
    return graph_.values[value].dtype == DType::kF32;
  const std::optional<size_t> made = maker(value);
  if (!made) return false;
  const Node& from = node(*made);
  if (!is_own(from) || from.inputs.empty() || from.outputs[0] != value) return false;
  if (is_one_of(from.op, kKeepFirst)) return f32_of(from.inputs[0], depth + 1);
  return is_one_of(from.op, kKeepTypes) &&
         std::ranges::any_of(from.inputs, [&](ValueId input) { return f32_of(input, depth + 1); });
}

GraphEditor::Rank GraphEditor::rank_of(ValueId value, size_t depth) const {
  if (value == kNoValue || depth > kDepth) return {};
  const auto known = ranks_.find(value);
  if (known != ranks_.end()) return known->second;
  return ranks_[value] = find_rank(value, depth);
}

// By constant, declaration, or the operator that makes the value; {} (0, not exact) where none of
// them tells.
GraphEditor::Rank GraphEditor::find_rank(ValueId value, size_t depth) const {
  if (const Weight* weight = constant(value); weight != nullptr) {
    return {weight->shape().size(), true};
  }
  if (value >= makers_.size()) return {};
  if (graph_.values[value].shape) return {graph_.values[value].shape->size(), true};
  const std::optional<size_t> made = maker(value);
  if (!made) return {};
  const Node& from = node(*made);
  if (!is_own(from) || from.inputs.empty() || from.outputs[0] != value) return {};
  const auto of_input = [&](size_t input) { return rank_of(from.inputs.at(input), depth + 1); };
  if (from.op == "Conv" || from.op == "ConvTranspose") return of_input(1);
  if (from.op == "Gemm") return {2, true};
  if (from.op == "MatMul" && of_input(1).least >= 2) return {1, false};
  if (from.op == "Transpose" && find_attribute(from, "perm") != nullptr) {
    return {ints_attribute(from, "perm", {}).size(), true};
  }
  if (from.op == "Reshape" && from.inputs.size() > 1) {
    const Weight* shape = constant(from.inputs[1]);
    if (shape == nullptr || shape->shape().size() != 1) return {};
    return {static_cast<size_t>(shape->shape()[0]), true};
  }
  if (from.op == "Unsqueeze") {
    size_t more = ints_attribute(from, "axes", {}).size();
    if (from.inputs.size() > 1) {
      const Weight* axes = constant(from.inputs[1]);
      if (axes == nullptr || axes->shape().size() != 1) return {};
      more = static_cast<size_t>(axes->shape()[0]);
    }
    const Rank rank = of_input(0);
    return {rank.least + more, rank.exact};
  }
  if (from.op == "ReduceMean" && int_attribute(from, "keepdims", 1) == 1) return of_input(0);
  if (is_one_of(from.op, kKeepRank)) return of_input(0);
  if (!is_one_of(from.op, kBroadcast)) return {};
  Rank rank{0, true};
  for (size_t i = 0; i < from.inputs.size(); ++i) {
    const Rank one = of_input(i);
    rank = {std::max(rank.least, one.least), rank.exact && one.exact};
  }
  return rank;
}

ValueId GraphEditor::add_weight(const std::string& name, Weight weight) {
  std::string unused = name;
  for (size_t i = 1; !context_.names.insert(unused).second; ++i) {
    unused = name + "_" + std::to_string(i);
  }
  const ValueId value = add_value(graph_, unused, weight.dtype(), weight.shape());
  graph_.weights.emplace(value, std::move(weight));
  makers_.push_back(kNobody);
  reads_.push_back(0);
  is_input_.push_back(false);
  return value;
}

void GraphEditor::replace(size_t last, Node made, const std::vector<size_t>& others) {
  const auto count = [&](const Node& one, bool more) {
    for (const ValueId input : one.inputs) {
      if (input != kNoValue) reads_[input] += more ? 1 : SIZE_MAX;  // minus one
    }
  };
  for (const size_t other : others) {
    if (removed_[other]) continue;
    removed_[other] = true;
    count(node(other), false);
    for (const ValueId output : node(other).outputs) {
      if (output != kNoValue) makers_[output] = kNobody;
    }
  }
  count(node(last), false);
  made.outputs = node(last).outputs;
  const std::vector<ValueId> before = inputs_of(last, others);
  node(last) = std::move(made);
  count(node(last), true);
  // A weight that stood for others is in the way where another one stands for it: a long chain of
  // nodes after a large weight would fill the memory.
  for (const ValueId value : before) {
    if (value != kNoValue && value >= given_values_ && reads_[value] == 0)
      graph_.weights.erase(value);
  }
}

std::vector<ValueId> GraphEditor::inputs_of(size_t last, const std::vector<size_t>& others) const {
  std::vector<ValueId> inputs = node(last).inputs;
  for (const size_t other : others) {
    inputs.insert(inputs.end(), node(other).inputs.begin(), node(other).inputs.end());
  }
  return inputs;
}

void GraphEditor::finish() {
  std::vector<Node> kept;
  for (size_t i = 0; i < size(); ++i) {
    if (!removed_[i]) kept.push_back(std::move(graph_.nodes[i]));
  }
  graph_.nodes = std::move(kept);
}

Node make_node(std::string op, std::string domain, std::vector<ValueId> inputs,
               const Node& stands_for) {
  Node node;
  node.op = std::move(op);
  node.domain = std::move(domain);
  node.name = stands_for.name;
  node.number = stands_for.number;
  node.inputs = std::move(inputs);
  return node;
}

bool near(double found, double wanted) {
  return std::fabs(found - wanted) <= 2e-6 * std::fabs(wanted);
}

namespace {

// Takes node `index` apart; what is no factor of its own stays a value.
bool add_factors(const GraphEditor& editor, size_t index, Factors& factors) {
  const Node& node = editor.node(index);
  const bool product = is_op(node, "Mul"), quotient = is_op(node, "Div");
  if ((!product && !quotient) || node.inputs.size() != 2) return false;
  const auto scalar = editor.with_scalar(node);
  if (quotient && (!scalar || scalar->scalar_input != 1 || scalar->scalar == 0)) return false;
  const auto add = [&](ValueId value) {
    const auto made = editor.maker(value);
    constexpr size_t kMostInside = 4;
    const bool own = made && editor.reads(value) == 1 && factors.interior.size() < kMostInside;
    if (own && add_factors(editor, *made, factors)) return factors.interior.push_back(*made);
    factors.values.push_back(value);
  };
  if (scalar) {
    factors.scale *= quotient ? 1 / static_cast<double>(scalar->scalar) : scalar->scalar;
    add(scalar->other);
  } else {
    add(node.inputs[0]);
    add(node.inputs[1]);
  }
  return true;
}

}  // namespace

Factors factors_of(const GraphEditor& editor, size_t root) {
  Factors factors;
  if (!add_factors(editor, root, factors)) factors.values.clear();
  return factors;
}

}  // namespace espalier
