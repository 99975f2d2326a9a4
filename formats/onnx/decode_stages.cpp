#include "formats/onnx/decode_stages.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <unordered_set>

#include "formats/onnx/data_type.h"

namespace espalier {
namespace {

// A value of `inner` that stands for the outer one of that name.
class Names {
 public:
  Names(const Graph& from, Graph& into) : from_(from), into_(into) {}
  void set(ValueId from, ValueId into) { ids_[from] = into; }
  ValueId operator()(ValueId id) {
    if (id == kNoValue) return id;
    const auto known = ids_.find(id);
    if (known != ids_.end()) return known->second;
    return ids_[id] = add_value(into_, from_.values[id].name);
  }

 private:
  const Graph& from_;
  Graph& into_;
  std::unordered_map<ValueId, ValueId> ids_;
};

std::shared_ptr<const Graph> branch(const Graph& outer, const char* name, std::vector<Node> nodes,
                                    ValueId result, std::string result_name, DType dtype) {
  auto graph = std::make_shared<Graph>();
  graph->name = name;
  Names inside(outer, *graph);
  const ValueId output = add_value(*graph, std::move(result_name), dtype);
  inside.set(result, output);
  for (Node& node : nodes) {
    std::ranges::transform(node.inputs, node.inputs.begin(), inside);
    std::ranges::transform(node.outputs, node.outputs.begin(), inside);
  }
  graph->nodes = std::move(nodes);
  graph->outputs = {output};
  return graph;
}

// The nodes, the last of which makes the result. `other` is what the branch that is never taken
// gives, of another shape: onnxruntime then knows no shape of the result before it has the branch
// folded, and folds no reader before. It is small, as that branch is folded too.
Node staged(const Graph& outer, std::vector<Node> nodes, ValueId condition, ValueId other,
            DType dtype, const StageNames& names) {
  const ValueId result = nodes.back().outputs[0];
  const std::string& name = outer.values[result].name;
  std::vector<Node> identity{{"Identity", "", "", {other}, {result}, {}, {}}};
  Node node{"If", "", name, {condition}, {result}, {}, {}};
  node.attributes.push_back({"then_branch",
                             branch(outer, "then", std::move(nodes), result,
                                    names.unique(name + "/then"), dtype),
                             {}});
  node.attributes.push_back({"else_branch",
                             branch(outer, "else", std::move(identity), result,
                                    names.unique(name + "/else"), dtype),
                             {}});
  return node;
}

Tensor integers(const std::vector<int64_t>& values) {
  return Tensor::of<int64_t>({static_cast<int64_t>(values.size())}, values);
}

const Node* maker_of(const Graph& graph, ValueId value) {
  for (const Node& node : graph.nodes) {
    if (std::ranges::find(node.outputs, value) != node.outputs.end()) return &node;
  }
  return nullptr;
}

bool is_plain(const Node& node, std::string_view op, size_t inputs) {
  return node.op == op && node.domain.empty() && node.inputs.size() == inputs &&
         node.outputs.size() == 1 && node.outputs[0] != kNoValue;
}

const Graph* taken_branch(const Node& node) {
  if (!is_plain(node, "If", 1) || node.attributes.size() != 2) return nullptr;
  const Graph* then = find_subgraph(node, "then_branch");
  const Graph* other = find_subgraph(node, "else_branch");
  if (then == nullptr || other == nullptr || other->nodes.size() != 1 ||
      !is_plain(other->nodes[0], "Identity", 1) || !other->weights.empty())
    return nullptr;
  if (!then->inputs.empty() || !then->weights.empty() || then->outputs.size() != 1 ||
      then->nodes.empty() || then->nodes.back().outputs != then->outputs)
    return nullptr;
  const bool plain = std::ranges::all_of(then->nodes, [](const Node& inner) {
    return inner.domain.empty() && std::ranges::none_of(inner.attributes, [](const Attribute& a) {
             return subgraph_of(a) != nullptr;
           });
  });
  return plain ? then : nullptr;
}

// The two kinds of in_stages().
bool holds_places(const Graph& graph, const Node& node, const Graph& then) {
  const Weight* condition = find_weight(graph, node.inputs[0]);
  if (condition == nullptr || condition->is_sparse() || condition->dtype() != DType::kBool ||
      condition->dense().count() != 1 || to_i64(condition->dense())[0] == 0)
    return false;
  return then.nodes.back().op == "Min" &&
         std::ranges::any_of(then.nodes, [](const Node& inner) { return inner.op == "CumSum"; });
}

// The condition is how many places a slice of them has, which is not 0: starts at 0, ends at 1.
bool holds_values(const Graph& graph, const Node& node, const Graph& then) {
  if (then.nodes.size() != 2 || !is_plain(then.nodes[0], "Gather", 2) ||
      then.nodes[1].op != "Reshape")
    return false;
  const Node* cast = maker_of(graph, node.inputs[0]);
  if (cast == nullptr || !is_plain(*cast, "Cast", 1)) return false;
  const Node* count = maker_of(graph, cast->inputs[0]);
  if (count == nullptr || !is_plain(*count, "Size", 1)) return false;
  const Node* slice = maker_of(graph, count->inputs[0]);
  if (slice == nullptr || !is_plain(*slice, "Slice", 3)) return false;
  const auto is_one = [&](ValueId id, int64_t value) {
    const Weight* weight = find_weight(graph, id);
    return weight != nullptr && !weight->is_sparse() &&
           same_bits(weight->dense(), integers({value}));
  };
  return is_one(slice->inputs[1], 0) && is_one(slice->inputs[2], 1) &&
         graph.values[slice->inputs[0]].name == then.values[then.nodes[0].inputs[1]].name;
}

class Joiner {
 public:
  explicit Joiner(Graph& graph) : graph_(graph) {
    for (ValueId id = 0; id < graph.values.size(); ++id) ids_.emplace(graph.values[id].name, id);
  }

  void run() {
    std::vector<Node> nodes;
    bool any = false;
    for (const Node& node : graph_.nodes) {
      const Graph* then = taken_branch(node);
      if (then == nullptr ||
          !(holds_places(graph_, node, *then) || holds_values(graph_, node, *then))) {
        nodes.push_back(node);
        continue;
      }
      any = true;
      unread_.insert(node.inputs[0]);
      add_outer(*find_subgraph(node, "else_branch"));
      put(node, *then, nodes);
    }
    if (!any) return;
    graph_.nodes = std::move(nodes);
    // What the condition was computed from.
    for (size_t before = 0; before != unread_.size();) {
      before = unread_.size();
      drop_unread();
    }
    drop_unread();
  }

 private:
  void put(const Node& node, const Graph& then, std::vector<Node>& nodes) {
    std::unordered_map<ValueId, ValueId> ids{{then.outputs[0], node.outputs[0]}};
    for (const Node& inner : then.nodes) {
      for (const ValueId output : inner.outputs) {
        if (output == kNoValue || ids.contains(output)) continue;
        ids[output] = add_value(graph_, free_name(then.values[output].name));
      }
    }
    const auto outside = [&](ValueId id) {
      if (id == kNoValue || ids.contains(id)) return id == kNoValue ? id : ids.at(id);
      const std::string& name = then.values[id].name;
      const auto known = ids_.find(name);
      const ValueId outer = known != ids_.end() ? known->second : add_value(graph_, name);
      ids_.emplace(name, outer);
      return ids[id] = outer;
    };
    for (Node inner : then.nodes) {
      std::ranges::transform(inner.inputs, inner.inputs.begin(), outside);
      std::ranges::transform(inner.outputs, inner.outputs.begin(), outside);
      nodes.push_back(std::move(inner));
    }
  }

  // What the branch that is gone read.
  void add_outer(const Graph& other) {
    const auto outer = ids_.find(other.values[other.nodes[0].inputs[0]].name);
    if (outer != ids_.end()) unread_.insert(outer->second);
  }

  // Names of the graph and of what its subgraphs mention.
  std::string free_name(const std::string& name) {
    if (taken_.empty()) {
      for_each_graph(graph_, [&](const Graph& part, const std::string&) {
        for (const Value& value : part.values) ++taken_[value.name];
      });
    }
    // The branch itself has the name once.
    std::string result = name;
    for (int i = 1; taken_[result] > (result == name ? 1U : 0U); ++i)
      result = name + "_" + std::to_string(i);
    ++taken_[result];
    return result;
  }

  void drop_unread() {
    std::unordered_set<std::string> read;
    for_each_graph(graph_, [&](const Graph& part, const std::string&) {
      for (const Node& node : part.nodes) {
        for (const ValueId input : node.inputs)
          if (input != kNoValue) read.insert(part.values[input].name);
      }
      for (const ValueId output : part.outputs) read.insert(part.values[output].name);
    });
    std::unordered_set<ValueId> more;
    const auto is_unread = [&](ValueId id) {
      return unread_.contains(id) && !read.contains(graph_.values[id].name);
    };
    std::erase_if(graph_.nodes, [&](const Node& node) {
      if (node.outputs.size() != 1 || !is_unread(node.outputs[0])) return false;
      more.insert(node.inputs.begin(), node.inputs.end());
      return true;
    });
    std::erase_if(graph_.weights, [&](const auto& weight) {
      return is_unread(weight.first) && std::ranges::count(graph_.inputs, weight.first) == 0;
    });
    unread_.insert(more.begin(), more.end());
  }

  Graph& graph_;
  std::unordered_map<std::string, ValueId> ids_;
  std::unordered_map<std::string, unsigned> taken_;
  std::unordered_set<ValueId> unread_;
};

}  // namespace

bool takes_stages(const DecodeForm& form, uint64_t dense_bytes) {
  return form.elements && dense_bytes >= kLargeDecode;
}

std::vector<Node> in_stages(Graph& graph, std::vector<Node> nodes, const DecodeForm& form,
                            const StageNames& names) {
  const ValueId source = names.ids.at("source"), padded = names.ids.at("padded_values");
  const auto values = names.ids.find("values_cast");
  // onnxruntime folds the values' zero after the places where it is made before them.
  const auto rest = std::ranges::stable_partition(nodes, [&](const Node& node) {
    return node.outputs[0] == padded ||
           (values != names.ids.end() && node.outputs[0] == values->second);
  });
  const auto places = std::ranges::find_if(
      rest, [&](const Node& node) { return node.outputs[0] == source; });
  std::vector<Node> result(nodes.begin(), rest.begin());
  const ValueId yes =
      names.constant(Tensor::of<bool>({}, std::array<bool, 1>{true}), "yes");
  result.push_back(staged(graph, {rest.begin(), std::next(places)}, yes, names.ids.at("one"),
                          DType::kI32, names));
  auto next = std::next(places);
  if (form.stacked()) {
    const std::string prefix = graph.values[source].name;
    const auto value = [&](const char* what) {
      return add_value(graph, names.unique(prefix + what));
    };
    const ValueId first = value("/first"), count = value("/count"), made = value("/made");
    const ValueId from = names.constant(integers({0}), "from");
    const ValueId to = names.constant(integers({1}), "to");
    result.push_back({"Slice", "", "", {source, from, to}, {first}, {}, {}});
    result.push_back({"Size", "", "", {first}, {count}, {}, {}});
    Node cast{"Cast", "", "", {count}, {made}, {}, {}};
    cast.attributes.push_back({"to", static_cast<int64_t>(onnx_from_dtype(DType::kBool)), {}});
    result.push_back(std::move(cast));
    const ValueId zero = names.constant(Tensor::zeros(DType::kF32, {}), "zero");
    result.push_back(staged(graph, {next, next + 2}, made, zero, DType::kF32, names));
    next += 2;
  }
  std::move(next, nodes.end(), std::back_inserter(result));
  return result;
}

void join_stages(Graph& graph) {
  const bool any = std::ranges::any_of(
      graph.nodes, [](const Node& node) { return taken_branch(node) != nullptr; });
  if (any) Joiner(graph).run();
}

}  // namespace espalier
