#include "lib/passes/graph_around.h"

#include <algorithm>

#include "lib/base/error.h"
#include "lib/ir/node_kinds.h"
#include "lib/ops/run_once.h"
#include "lib/passes/pass.h"

namespace espalier {
namespace {

constexpr size_t kNobody = SIZE_MAX;
constexpr size_t kDepth = 64;

}  // namespace

GraphAround::GraphAround(Graph& graph, Scope* around, int64_t opset, ThreadPool& pool)
    : graph_(graph),
      around_(around),
      opset_(opset),
      pool_(pool),
      bytes_left_(kConstantFoldingBytes) {
  reset();
}

void GraphAround::reset() {
  constants_.clear();
  find_makers();
}

void GraphAround::find_makers() {
  scope_.emplace(graph_, around_);
  makers_.assign(graph_.values.size(), kNobody);
  for (size_t i = 0; i < graph_.nodes.size(); ++i) {
    for (const ValueId output : graph_.nodes[i].outputs)
      if (output != kNoValue) makers_[output] = i;
  }
}

std::optional<ValueId> GraphAround::called(const std::string& name) {
  if (const auto own = scope_->find(name)) return own;
  if (around_ == nullptr || around_->place_of(name).scope == nullptr) return std::nullopt;
  const auto known = std::ranges::find(graph_.values, name, &Value::name);
  if (known != graph_.values.end()) return static_cast<ValueId>(known - graph_.values.begin());
  const ValueId added = add_value(graph_, name);
  find_makers();
  return added;
}

const GraphAround::Constant* GraphAround::constant(ValueId value) {
  if (value == kNoValue) return nullptr;
  const auto known = constants_.find(value);
  if (known != constants_.end()) return known->second ? &*known->second : nullptr;
  std::optional<Constant> made = make(value, 0);
  const auto& stored = constants_.emplace(value, std::move(made)).first->second;
  return stored ? &*stored : nullptr;
}

// The stored constant, in whichever graph, or the outputs of a node of which all inputs are
// constants.
std::optional<GraphAround::Constant> GraphAround::make(ValueId value, size_t depth) {
  const Scope::Place place = scope_->place_of(value);
  if (place.scope == nullptr || depth > kDepth) return std::nullopt;
  const Graph& home = place.scope->graph();
  if (std::ranges::count(home.inputs, place.value) != 0) return std::nullopt;
  if (const Weight* weight = find_weight(home, place.value)) {
    Constant result{*weight, {}};
    if (is_float(weight->dtype()))
      result.sources = {
          {home.values[place.value].name, byte_count(weight->dtype(), weight->shape())}};
    return result;
  }
  const Node* node = maker(value);
  if (node == nullptr || node->inputs.empty()) return std::nullopt;
  const Operator* entry = find_operator(node->op, node->domain);
  if (entry == nullptr || entry->prepare == nullptr) return std::nullopt;
  std::vector<std::optional<Constant>> given;
  for (const ValueId input : node->inputs) {
    given.push_back(input == kNoValue ? std::nullopt : make(input, depth + 1));
    if (input != kNoValue && !given.back()) return std::nullopt;
    if (given.back() && given.back()->weight.is_sparse()) return std::nullopt;
  }
  std::vector<const Weight*> inputs;
  Constant result;
  for (const auto& one : given) {
    inputs.push_back(one ? &one->weight : nullptr);
    if (one) result.sources.insert(result.sources.end(), one->sources.begin(), one->sources.end());
  }
  std::optional<std::vector<Tensor>> made;
  try {
    made = run_once(*entry, *node, opset_, inputs, pool_, bytes_left_);
  } catch (const Error&) {
    return std::nullopt;
  }
  const auto output = std::ranges::find(node->outputs, value) - node->outputs.begin();
  if (!made || static_cast<size_t>(output) >= made->size()) return std::nullopt;
  Tensor& tensor = (*made)[static_cast<size_t>(output)];
  bytes_left_ -= std::min(bytes_left_, tensor.bytes().size());
  result.weight.value = std::move(tensor);
  return result;
}

std::optional<double> GraphAround::number(ValueId value) {
  const Constant* found = constant(value);
  if (found == nullptr || found->weight.is_sparse() || found->weight.dense().count() != 1)
    return std::nullopt;
  const Tensor& tensor = found->weight.dense();
  if (tensor.dtype() == DType::kString) return std::nullopt;
  return is_float(tensor.dtype()) ? to_f32(tensor)[0] : static_cast<double>(to_i64(tensor)[0]);
}

const Node* GraphAround::maker(ValueId value) const {
  if (value == kNoValue || value >= makers_.size() || makers_[value] == kNobody ||
      graph_.weights.contains(value)) {
    return nullptr;
  }
  return &graph_.nodes[makers_[value]];
}

ValueId GraphAround::root(ValueId value) const {
  for (size_t depth = 0; depth < kDepth; ++depth) {
    const Node* node = maker(value);
    const bool same = node != nullptr && is_default_domain(*node) &&
                      (node->op == "Cast" || node->op == "Identity" || node->op == "Squeeze" ||
                       node->op == "Unsqueeze" || node->op == "Reshape");
    if (!same) break;
    value = node->inputs[0];
  }
  return value;
}

std::optional<Shape> GraphAround::shape(ValueId value) {
  for (size_t depth = 0; depth < kDepth; ++depth) {
    const Scope::Place place = scope_->place_of(value);
    if (place.scope == nullptr) return std::nullopt;
    if (const Weight* weight = find_weight(place.scope->graph(), place.value))
      return weight->shape();
    const auto& declared = place.scope->graph().values[place.value].shape;
    if (declared) return declared;
    const Node* node = maker(value);
    if (node == nullptr || !is_default_domain(*node)) return std::nullopt;
    if (node->op == "Transpose") {
      const std::vector<int64_t> perm = ints_attribute(*node, "perm", {});
      const std::optional<Shape> from = shape(node->inputs[0]);
      if (perm.empty() || (from && from->size() != perm.size())) return std::nullopt;
      Shape result(perm.size(), -1);
      for (size_t i = 0; from && i < perm.size(); ++i)
        result[i] = (*from)[static_cast<size_t>(perm[i])];
      return result;
    }
    if (node->op == "Expand" || node->op == "ConstantOfShape") {
      const Constant* made = constant(node->inputs[node->op == "Expand" ? 1 : 0]);
      if (made == nullptr || made->weight.is_sparse()) return std::nullopt;
      return to_i64(made->weight.dense());
    }
    if (node->op == "Loop" || node->op == "Scan") return loop_shape(*node, value);
    if (node->op == "MatMul") {
      std::optional<Shape> x = shape(node->inputs[0]);
      const Constant* w = constant(node->inputs[1]);
      if (!x || x->size() < 2 || w == nullptr || w->weight.shape().size() != 2) return std::nullopt;
      x->back() = w->weight.shape()[1];
      return x;
    }
    if (node->op == "Add") {  // of a row
      const size_t row = constant(node->inputs[1]) != nullptr ? 1 : 0;
      const Constant* added = constant(node->inputs[row]);
      if (added == nullptr || added->weight.shape().size() > 1) return std::nullopt;
      value = node->inputs[1 - row];
      continue;
    }
    if (node->op != "Identity" && node->op != "Cast") return std::nullopt;
    value = node->inputs[0];
  }
  return std::nullopt;
}

// A state, or what each run gives below each other, as the body declares them.
std::optional<Shape> GraphAround::loop_shape(const Node& node, ValueId value) const {
  const Graph* body = find_subgraph(node, "body");
  const auto output =
      static_cast<size_t>(std::ranges::find(node.outputs, value) - node.outputs.begin());
  const bool loop = node.op == "Loop";
  const size_t not_states =
      loop ? 2
           : static_cast<size_t>(std::max<int64_t>(0, int_attribute(node, "num_scan_inputs", 0)));
  const size_t inside = output + (loop ? 1 : 0);
  if (body == nullptr || node.inputs.size() < not_states || inside >= body->outputs.size() ||
      find_attribute(node, "scan_output_axes") != nullptr)
    return std::nullopt;
  std::optional<Shape> shape = body->values[body->outputs[inside]].shape;
  if (shape && output >= node.inputs.size() - not_states) shape->insert(shape->begin(), -1);
  return shape;
}

DType GraphAround::dtype(ValueId value) {
  const Scope::Place place = scope_->place_of(value);
  if (place.scope == nullptr) return DType::kUnknown;
  if (const Weight* weight = find_weight(place.scope->graph(), place.value)) return weight->dtype();
  return place.scope->graph().values[place.value].dtype;
}

bool GraphAround::is_zero(ValueId value) {
  if (const Constant* found = constant(value)) {
    if (found->weight.is_sparse() || !is_float(found->weight.dtype())) return false;
    return std::ranges::all_of(to_f32(found->weight.dense()), [](float x) { return x == 0; });
  }
  value = root(value);
  const Node* node = maker(value);
  if (node == nullptr || !is_default_domain(*node)) return false;
  if (node->op == "Expand" || node->op == "Tile") return is_zero(node->inputs[0]);
  if (node->op == "Slice" || node->op == "Gather" || node->op == "Transpose")
    return is_zero(node->inputs[0]);
  if (node->op == "Mul") return number(node->inputs[0]) == 0.0 || number(node->inputs[1]) == 0.0;
  if (node->op != "ConstantOfShape") return false;
  const Attribute* fill = find_attribute(*node, "value");
  const auto* tensor = fill == nullptr ? nullptr : std::get_if<Tensor>(&fill->value);
  return fill == nullptr || (tensor != nullptr && is_float(tensor->dtype()) &&
                             tensor->count() == 1 && to_f32(*tensor)[0] == 0);
}

// Gather or Slice of the Shape of the data, or of what the data is transposed from.
bool GraphAround::is_extent(ValueId count, ValueId data, size_t axis) {
  const Node* picked = maker(root(count));
  if (picked == nullptr || !is_default_domain(*picked) || picked->inputs.size() < 2) return false;
  const std::optional<double> at =
      picked->op == "Gather" || picked->op == "Slice" ? number(picked->inputs[1]) : std::nullopt;
  const Node* shape = maker(root(picked->inputs[0]));
  if (!at || shape == nullptr || shape->op != "Shape" || !is_default_domain(*shape)) return false;
  auto place = static_cast<int64_t>(*at);
  for (size_t depth = 0; depth < kDepth; ++depth) {
    if (shape->inputs[0] == data) return place == static_cast<int64_t>(axis);
    const Node* turned = maker(data);
    if (turned == nullptr || turned->op != "Transpose" || !is_default_domain(*turned)) return false;
    const std::vector<int64_t> perm = ints_attribute(*turned, "perm", {});
    if (axis >= perm.size() || perm[axis] < 0) return false;
    axis = static_cast<size_t>(perm[axis]);
    data = turned->inputs[0];
  }
  return false;
}

}  // namespace espalier
