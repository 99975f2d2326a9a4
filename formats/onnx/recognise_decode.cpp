#include "formats/onnx/recognise_decode.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "formats/onnx/decode_stages.h"
#include "formats/onnx/read_graph.h"

namespace espalier {
namespace {

using Bindings = std::map<std::string, ValueId>;

bool equal_values(const Attribute::Value& a, const Attribute::Value& b) {
  if (a.index() != b.index()) return false;
  if (const auto* tensor = std::get_if<Tensor>(&a)) return same_bits(*tensor, std::get<Tensor>(b));
  if (const auto* number = std::get_if<int64_t>(&a)) return *number == std::get<int64_t>(b);
  if (const auto* list = std::get_if<std::vector<int64_t>>(&a))
    return *list == std::get<std::vector<int64_t>>(b);
  if (const auto* text = std::get_if<std::string>(&a)) return *text == std::get<std::string>(b);
  return false;
}

// Names that subgraphs, at any depth, mention: what may be read from there.
void collect_names(const Graph& graph, std::unordered_set<std::string>& names) {
  for (const Node& node : graph.nodes) {
    for_each_subgraph(node, [&](const Graph& sub) {
      for (const Value& value : sub.values) names.insert(value.name);
      collect_names(sub, names);
    });
  }
}

class Recogniser {
 public:
  Recogniser(Graph& graph, const DecodeFunctions& functions, const OperatorFunctions& operators)
      : graph_(graph), functions_(functions), operators_(operators) {
    std::unordered_set<std::string> names;
    collect_names(graph, names);
    uses_.assign(graph.values.size(), 0);
    for (const Node& node : graph.nodes) {
      for (const ValueId input : node.inputs) {
        if (input != kNoValue) ++uses_[input];
      }
    }
    for (const ValueId output : graph.outputs) ++uses_[output];
    for (ValueId id = 0; id < graph.values.size(); ++id) {
      if (names.contains(graph.values[id].name)) ++uses_[id];
    }
    for (size_t i = 0; i < graph.nodes.size(); ++i) {
      for (const ValueId output : graph.nodes[i].outputs) {
        if (output != kNoValue) maker_[output] = i;
      }
    }
    dropped_.assign(graph.nodes.size(), false);
  }

  void run() {
    const bool may_be_spelled_out = std::ranges::any_of(
        graph_.nodes, [](const Node& n) { return n.op == "ScatterND" || n.op == "CumSum"; });
    // Backwards: the first Reshape of a longer form looks like the end of the plain one.
    for (size_t i = graph_.nodes.size(); i-- > 0;) {
      if (dropped_[i]) continue;
      if (!take_call(i) && !take_operator(i) && may_be_spelled_out) take_spelled_out(i);
    }
    if (results_.empty() && candidates_.empty()) return;
    drop_unread();
    compact();
  }

 private:
  const Tensor* constant(ValueId id) const {
    const Weight* weight = id == kNoValue ? nullptr : find_weight(graph_, id);
    return weight == nullptr || weight->is_sparse() ? nullptr : &weight->dense();
  }

  // Nothing where an input is not constant.
  std::optional<DecodeParts> parts_of(const DecodeForm& form, const Bindings& bindings) const {
    DecodeParts parts;
    for (const std::string& name : decode_inputs(form)) {
      const Tensor* tensor = constant(bindings.at(name));
      if (tensor == nullptr) return std::nullopt;
      parts.emplace(name, *tensor);
    }
    return parts;
  }

  bool take_call(size_t index) {
    const Node& node = graph_.nodes[index];
    if (node.domain != kDecodeDomain) return false;
    const auto function = functions_.find(node.op);
    if (function == functions_.end() || node.outputs.size() != 1 || node.outputs[0] == kNoValue)
      return false;
    const DecodeForm& form = function->second;
    const std::vector<std::string> names = decode_inputs(form);
    if (names.size() != node.inputs.size()) return false;
    Bindings bindings;
    for (size_t i = 0; i < names.size(); ++i) bindings[names[i]] = node.inputs[i];
    const auto parts = parts_of(form, bindings);
    if (!parts) return false;
    const ValueId weight = node.outputs[0];
    try {
      place(weight, matrix_from_parts(form, *parts), kFunctionOrigin, bindings, {index});
    } catch (Error& error) {
      error.add_context(fmt::format("packed weight {}", printable(graph_.values[weight].name)));
      throw;
    }
    return true;
  }

  // The call becomes the operator, its parts a weight of the name that it had.
  bool take_operator(size_t index) {
    const Node& call = graph_.nodes[index];
    if (call.domain != kDecodeDomain || !operators_.contains(call.op)) return false;
    const OperatorForm* form = find_operator_form(call.op);
    auto read = operator_call(call, *form, [&](ValueId id) { return constant(id); });
    if (!read) return false;
    std::vector<ValueId> weights;
    size_t first = 0;  // part of the next weight among the call's inputs
    for (size_t i = 0; i < form->packed.size(); ++i) {
      first = form->packed[i] + i * (kOperatorParts.size() - 1);
      const std::vector<ValueId> parts(call.inputs.begin() + first,
                                       call.inputs.begin() + first + kOperatorParts.size());
      weights.push_back(weight_of(read->weights[i], parts));
      candidates_.insert(parts.begin(), parts.end());
    }
    for (const ValueId input : call.inputs) {
      if (input != kNoValue) --uses_[input];
    }
    for (size_t i = 0; i < weights.size(); ++i)
      read->node.inputs.insert(read->node.inputs.begin() + form->packed[i], weights[i]);
    for (const ValueId input : read->node.inputs) {
      if (input != kNoValue) ++uses_[input];
    }
    graph_.nodes[index] = std::move(read->node);
    return true;
  }

  // Calls that name the same weight share its parts.
  ValueId weight_of(OperatorCall::PackedWeight& read, const std::vector<ValueId>& parts) {
    const auto known = operator_weights_.find(read.name);
    if (known != operator_weights_.end() && known->second.second == parts)
      return known->second.first;
    if (!names_known_) {
      for (const Value& value : graph_.values) names_.insert(value.name);
      names_known_ = true;
    }
    if (read.name.empty() || !names_.insert(read.name).second) {
      throw Error(Fault::kFormat,
                  fmt::format("packed weight {}: the name is empty or that of another value",
                              printable(read.name)));
    }
    const ValueId id = add_value(graph_, read.name, read.matrix.dtype, read.matrix.shape);
    uses_.push_back(0);
    std::string extra(1, kFunctionOrigin);
    if (std::ranges::any_of(parts,
                            [&](ValueId part) { return was_external(graph_.weights.at(part)); }))
      extra += kDataFileMark;
    graph_.weights.emplace(id, Weight{std::move(read.matrix), std::move(extra)});
    operator_weights_[read.name] = {id, parts};
    return id;
  }

  void take_spelled_out(size_t index) {
    const Node& last = graph_.nodes[index];
    if (last.outputs.size() != 1 || !last.domain.empty()) return;
    for (const auto& [form, steps] : spelled_out_forms()) {
      if (steps.back().op != last.op) continue;
      Bindings bindings;
      std::vector<size_t> nodes;
      if (!matches(steps, last.outputs[0], bindings, nodes)) continue;
      const auto parts = parts_of(form, bindings);
      if (!parts) continue;
      try {
        place(last.outputs[0], matrix_from_parts(form, *parts), kInlineOrigin, bindings, nodes);
        return;
      } catch (const Error&) {  // other nodes of this kind, or made by another program
      }
    }
  }

  static const std::vector<std::pair<DecodeForm, std::vector<DecodeStep>>>& spelled_out_forms() {
    static const auto kForms = [] {
      std::vector<std::pair<DecodeForm, std::vector<DecodeStep>>> forms;
      for (const DecodeForm& form : all_decode_forms())
        forms.emplace_back(form, decode_steps(form));
      return forms;
    }();
    return kForms;
  }

  static size_t reads_of(const std::vector<DecodeStep>& steps, const std::string& value) {
    size_t reads = 0;
    for (const DecodeStep& step : steps)
      reads += static_cast<size_t>(std::ranges::count(step.inputs, value));
    return reads;
  }

  // From the last step backwards: every value but the result is read inside the pattern alone.
  // Constants are initializers or nodes, which other patterns may read too.
  bool matches(const std::vector<DecodeStep>& steps, ValueId result, Bindings& bindings,
               std::vector<size_t>& nodes) const {
    bindings["weight"] = result;
    for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
      const ValueId output = bindings.at(step->output);
      if (step->op == "Constant") {
        const Tensor* tensor = constant(output);
        if (tensor == nullptr || !same_bits(*tensor, std::get<Tensor>(step->attributes[0].value)))
          return false;
        continue;
      }
      const auto maker = maker_.find(output);
      if (maker == maker_.end() || dropped_[maker->second]) return false;
      if (step != steps.rbegin() && uses_[output] != reads_of(steps, step->output)) return false;
      if (!matches(*step, graph_.nodes[maker->second], bindings)) return false;
      nodes.push_back(maker->second);
    }
    return true;
  }

  bool matches(const DecodeStep& step, const Node& node, Bindings& bindings) const {
    if (node.op != step.op || !node.domain.empty() || node.inputs.size() != step.inputs.size() ||
        node.outputs.size() != 1)
      return false;
    if (node.attributes.size() != step.attributes.size()) return false;
    for (const Attribute& attribute : step.attributes) {
      const Attribute* other = find_attribute(node, attribute.name);
      if (other == nullptr || !equal_values(attribute.value, other->value)) return false;
    }
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      if (node.inputs[i] == kNoValue) return false;
      const auto [at, added] = bindings.try_emplace(step.inputs[i], node.inputs[i]);
      if (!added && at->second != node.inputs[i]) return false;
    }
    return true;
  }

  void place(ValueId weight, SparseMatrix matrix, char origin, const Bindings& bindings,
             const std::vector<size_t>& nodes) {
    std::string extra(1, origin);
    const auto in_data_file = [&](const auto& binding) {
      const Weight* part = find_weight(graph_, binding.second);
      return part != nullptr && was_external(*part);
    };
    if (std::ranges::any_of(bindings, in_data_file)) extra += kDataFileMark;
    for (const size_t node : nodes) {
      dropped_[node] = true;
      for (const ValueId input : graph_.nodes[node].inputs) --uses_[input];
    }
    results_.push_back(nodes.front());
    for (const auto& [name, id] : bindings) candidates_.insert(id);
    graph_.weights.insert_or_assign(weight, Weight{std::move(matrix), std::move(extra)});
    Value& value = graph_.values[weight];
    if (value.dtype == DType::kUnknown) value.dtype = graph_.weights.at(weight).dtype();
    if (!value.shape) value.shape = graph_.weights.at(weight).shape();
  }

  // Decodes at the front stand for initializers; one between other nodes came from a Constant and
  // leaves one behind, so that it is written in the same place again.
  void keep_places() {
    const auto front = static_cast<size_t>(std::ranges::find(dropped_, false) - dropped_.begin());
    for (const size_t index : results_) {
      if (index < front) continue;
      Node& node = graph_.nodes[index];
      node = {"Constant", "", "", {}, node.outputs, {{"value", std::monostate{}, {}}}, {}};
      dropped_[index] = false;
    }
  }

  void drop_unread() {
    for (const ValueId id : candidates_) {
      const auto weight = graph_.weights.find(id);
      if (weight == graph_.weights.end() || weight->second.is_sparse() || uses_[id] != 0 ||
          std::ranges::count(graph_.inputs, id) != 0)
        continue;
      graph_.weights.erase(weight);
      const auto maker = maker_.find(id);
      if (maker != maker_.end()) dropped_[maker->second] = true;
    }
    keep_places();
    std::vector<Node> nodes;
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      if (!dropped_[i]) nodes.push_back(std::move(graph_.nodes[i]));
    }
    graph_.nodes = std::move(nodes);
  }

  // Takes the values out that nothing names any more.
  void compact() {
    std::vector<bool> used(graph_.values.size(), false);
    const auto use = [&](ValueId id) {
      if (id != kNoValue) used[id] = true;
    };
    for (const Node& node : graph_.nodes) {
      std::ranges::for_each(node.inputs, use);
      std::ranges::for_each(node.outputs, use);
    }
    std::ranges::for_each(graph_.inputs, use);
    std::ranges::for_each(graph_.outputs, use);
    for (const auto& [id, weight] : graph_.weights) use(id);
    std::vector<ValueId> renumbered(used.size(), kNoValue);
    std::vector<Value> values;
    std::unordered_set<std::string> gone;
    for (ValueId id = 0; id < used.size(); ++id) {
      if (!used[id]) {
        gone.insert(graph_.values[id].name);
        continue;
      }
      renumbered[id] = static_cast<ValueId>(values.size());
      values.push_back(std::move(graph_.values[id]));
    }
    graph_.values = std::move(values);
    const auto renumber = [&](ValueId& id) {
      if (id != kNoValue) id = renumbered[id];
    };
    for (Node& node : graph_.nodes) {
      std::ranges::for_each(node.inputs, renumber);
      std::ranges::for_each(node.outputs, renumber);
    }
    std::ranges::for_each(graph_.inputs, renumber);
    std::ranges::for_each(graph_.outputs, renumber);
    std::map<ValueId, Weight> weights;
    for (auto& [id, weight] : graph_.weights) weights.emplace(renumbered[id], std::move(weight));
    graph_.weights = std::move(weights);
    forget_value_infos(gone);
  }

  void forget_value_infos(const std::unordered_set<std::string>& gone) {
    pb::GraphProto extra;
    if (graph_.extra.empty() || !extra.ParseFromString(graph_.extra)) return;
    auto* infos = extra.mutable_value_info();
    infos->erase(std::remove_if(infos->begin(), infos->end(),
                                [&](const auto& info) { return gone.contains(info.name()); }),
                 infos->end());
    graph_.extra = extra.ByteSizeLong() == 0 ? std::string() : extra.SerializeAsString();
  }

  Graph& graph_;
  const DecodeFunctions& functions_;
  const OperatorFunctions& operators_;
  std::map<std::string, std::pair<ValueId, std::vector<ValueId>>> operator_weights_;
  std::unordered_set<std::string> names_;  // of values, once they are asked for
  bool names_known_ = false;
  std::vector<size_t> uses_;  // per value; outputs and subgraphs count
  std::unordered_map<ValueId, size_t> maker_;
  std::vector<bool> dropped_;  // per node
  std::unordered_set<ValueId> candidates_;
  std::vector<size_t> results_;  // nodes that gave the packed weights
};

}  // namespace

Graph with_packed_weights(Graph graph, const DecodeFunctions& functions,
                          const OperatorFunctions& operators) {
  return transformed(std::move(graph), [&](Graph& part, const std::string&) {
    join_stages(part);
    Recogniser(part, functions, operators).run();
  });
}

}  // namespace espalier
