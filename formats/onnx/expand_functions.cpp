// Calls of functions replaced by what the functions hold, for operators that the runtime lacks.
#include <fmt/format.h>
#include <onnx/defs/schema.h>
#include <onnx/inliner/inliner.h>

#include <algorithm>
#include <map>
#include <set>

#include "formats/onnx/decode_function.h"
#include "formats/onnx/onnx_model.h"
#include "formats/onnx/runtime_has.h"
#include "lib/base/limits.h"
#include "lib/ops/operator.h"

namespace espalier {
namespace {

using FunctionId = pb::inliner::FunctionId;  // domain, name

// Functions may call functions: how deep, and into how many nodes in all.
constexpr size_t kMaxDepth = limits::onnx_function_nesting, kMaxNodes = limits::onnx_function_nodes;
// Weights above this size only lend their type while the graph is rewritten.
constexpr size_t kSmallWeight = 4096;

std::string default_domain(const std::string& domain) { return domain == "ai.onnx" ? "" : domain; }

bool runs(const std::string& domain, const std::string& op) {
  static const std::set<std::string, std::less<>> kByRuntime{"If", "Loop", "Scan"};
  const Operator* entry = find_operator(op, domain);
  return (entry != nullptr && entry->prepare != nullptr) ||
         (default_domain(domain).empty() && kByRuntime.contains(op));
}

// Nodes that a call of each of the model's functions becomes.
class Sizes {
 public:
  explicit Sizes(const pb::ModelProto& proto) {
    for (const auto& function : proto.functions())
      functions_[{default_domain(function.domain()), function.name()}] = &function;
  }

  bool has(const FunctionId& id) const { return functions_.contains(id); }

  void check(const pb::GraphProto& graph) { sum(graph.node(), 0); }

 private:
  template <typename Nodes>
  size_t sum(const Nodes& nodes, size_t depth) {
    if (depth > kMaxDepth)
      throw Error(Fault::kUnsupported,
                  fmt::format("functions are nested more than {} levels deep", kMaxDepth));
    size_t total = 0;
    for (const auto& node : nodes) {
      total += of({default_domain(node.domain()), node.op_type()}, depth);
      for (const auto& attribute : node.attribute()) {
        if (attribute.has_g()) total += sum(attribute.g().node(), depth + 1);
      }
      if (total > kMaxNodes) {
        throw Error(Fault::kUnsupported,
                    fmt::format("its functions expand to more than {} nodes", kMaxNodes));
      }
    }
    return total;
  }

  size_t of(const FunctionId& id, size_t depth) {
    const auto function = functions_.find(id);
    if (function == functions_.end()) return 1;
    const auto known = sizes_.find(id);
    if (known != sizes_.end()) return known->second;
    return sizes_[id] = sum(function->second->node(), depth + 1);
  }

  std::map<FunctionId, const pb::FunctionProto*> functions_;
  std::map<FunctionId, size_t> sizes_;
};

const pb::OpSchema* schema_of(const pb::ModelProto& proto, const FunctionId& id) {
  for (const auto& import : proto.opset_import()) {
    if (default_domain(import.domain()) == id.first) {
      return pb::OpSchemaRegistry::Schema(id.second, static_cast<int>(import.version()), id.first);
    }
  }
  return nullptr;
}

bool has_body(const pb::OpSchema* schema) {
  return schema != nullptr && (schema->HasFunction() || schema->HasContextDependentFunction());
}

// Operators that the runtime lacks, in the nodes and, where `deep`, in their subgraphs.
void add_lacking(const pb::GraphProto& graph, bool deep, std::set<FunctionId>& result) {
  for (const auto& node : graph.node()) {
    if (!runs(node.domain(), node.op_type()))
      result.emplace(default_domain(node.domain()), node.op_type());
    for (const auto& attribute : node.attribute()) {
      if (deep && attribute.has_g()) add_lacking(attribute.g(), deep, result);
    }
  }
}

// The inliner forgets what an attribute is by default where a call leaves it out.
template <typename Defaults>
void add_defaults(pb::NodeProto& node, const Defaults& defaults) {
  for (const pb::AttributeProto& fallback : defaults) {
    const bool given = std::ranges::any_of(node.attribute(), [&](const pb::AttributeProto& own) {
      return own.name() == fallback.name();
    });
    if (!given) *node.add_attribute() = fallback;
  }
}

std::vector<pb::AttributeProto> defaults_of(const pb::OpSchema& schema) {
  std::vector<pb::AttributeProto> result;
  for (const auto& [name, attribute] : schema.attributes()) {
    if (attribute.default_value.name().empty()) continue;
    result.push_back(attribute.default_value);
  }
  return result;
}

// Own functions: everywhere, also in each other.
class OwnDefaults {
 public:
  explicit OwnDefaults(const pb::ModelProto& proto) {
    for (const auto& function : proto.functions()) {
      const auto& list = function.attribute_proto();
      by_id_[{default_domain(function.domain()), function.name()}] = {list.begin(), list.end()};
    }
  }
  template <typename Nodes>
  void add(Nodes& nodes) const {
    for (pb::NodeProto& node : nodes) {
      const auto found = by_id_.find({default_domain(node.domain()), node.op_type()});
      if (found != by_id_.end()) add_defaults(node, found->second);
      for (auto& attribute : *node.mutable_attribute()) {
        if (attribute.has_g()) add(*attribute.mutable_g()->mutable_node());
      }
    }
  }

 private:
  std::map<FunctionId, std::vector<pb::AttributeProto>> by_id_;
};

void inline_own(pb::ModelProto& proto) {
  if (proto.functions_size() == 0) return;
  const OwnDefaults defaults(proto);
  defaults.add(*proto.mutable_graph()->mutable_node());
  for (auto& function : *proto.mutable_functions()) defaults.add(*function.mutable_node());
  pb::inliner::InlineLocalFunctions(proto);
}

// Replaces all calls of one operator. False, and `proto` as it was, where its body needs operators
// that nobody can run: then the call says by its own name what is missing.
bool inline_one(pb::ModelProto& proto, const FunctionId& id, const pb::OpSchema& schema) {
  pb::ModelProto changed = proto;
  for (auto& node : *changed.mutable_graph()->mutable_node()) {
    const FunctionId called{default_domain(node.domain()), node.op_type()};
    if (called == id) add_defaults(node, defaults_of(schema));
  }
  // The inliner asks for the type of inputs that a call leaves out, too; nobody uses it.
  pb::ValueInfoProto left_out;
  left_out.mutable_type()->mutable_tensor_type()->set_elem_type(pb::TensorProto::FLOAT);
  *changed.mutable_graph()->add_value_info() = left_out;
  std::set<FunctionId> before, after;
  add_lacking(proto.graph(), true, before);
  const auto ids = pb::inliner::FunctionIdSet::Create({id});
  pb::inliner::InlineSelectedFunctions(changed, *ids, nullptr);
  auto* infos = changed.mutable_graph()->mutable_value_info();
  infos->erase(std::remove_if(infos->begin(), infos->end(),
                              [](const auto& info) { return info.name().empty(); }),
               infos->end());
  add_lacking(changed.graph(), true, after);
  if (after.contains(id)) return false;
  for (const FunctionId& lacking : after) {
    if (!before.contains(lacking) && !has_body(schema_of(changed, lacking))) return false;
  }
  proto = std::move(changed);
  return true;
}

// One operator after the other, as bodies hold calls of others.
void inline_schemas(pb::ModelProto& proto) {
  std::set<FunctionId> kept;
  for (size_t round = 0; round < kMaxDepth; ++round) {
    std::set<FunctionId> lacking;
    add_lacking(proto.graph(), false, lacking);
    const auto next = std::ranges::find_if(lacking, [&](const FunctionId& id) {
      return !kept.contains(id) && has_body(schema_of(proto, id));
    });
    if (next == lacking.end()) return;
    if (!inline_one(proto, *next, *schema_of(proto, *next))) kept.insert(*next);
  }
}

// Whether the runtime lacks an operator that can be expanded.
bool is_wanted(const Model& model, const pb::ModelProto& frame, const Sizes& own) {
  bool wanted = false;
  for_each_graph(model.graph, [&](const Graph& graph, const std::string&) {
    for (const Node& node : graph.nodes) {
      if (wanted || runs(node.domain, node.op)) continue;
      const FunctionId id{default_domain(node.domain), node.op};
      wanted = own.has(id) || has_body(schema_of(frame, id));
    }
  });
  return wanted;
}

using Weights = std::map<std::string, Weight>;

// Takes large and packed weights out; inputs of their names and types stand for them.
Weights take_weights(Graph& graph) {
  Weights taken;
  std::set<ValueId> gone;
  for (auto entry = graph.weights.begin(); entry != graph.weights.end();) {
    const auto& [id, weight] = *entry;
    const bool small = !weight.is_sparse() && weight.dense().bytes().size() <= kSmallWeight;
    Value& value = graph.values[id];
    if (small || std::ranges::count(graph.inputs, id) != 0) {
      ++entry;
      continue;
    }
    value.dtype = weight.dtype();
    value.shape = weight.shape();
    value.dimension_names.clear();
    value.extra.clear();
    taken.emplace(value.name, weight);
    gone.insert(id);
    graph.inputs.push_back(id);
    entry = graph.weights.erase(entry);
  }
  std::erase_if(graph.nodes, [&](const Node& node) {
    return node.op == "Constant" && node.outputs.size() == 1 && gone.contains(node.outputs[0]);
  });
  return taken;
}

void put_back(Graph& graph, const Weights& taken) {
  std::erase_if(graph.inputs, [&](ValueId id) {
    const auto found = taken.find(graph.values[id].name);
    if (found == taken.end()) return false;
    graph.weights[id] = found->second;
    return true;
  });
}

}  // namespace

bool runtime_has(const pb::NodeProto& node, const pb::ModelProto& frame) {
  if (node.domain() == kDecodeDomain) return true;  // a packed weight, once it is read
  const FunctionId id{default_domain(node.domain()), node.op_type()};
  if (!runs(node.domain(), node.op_type()) && !(id.first.empty() && has_body(schema_of(frame, id))))
    return false;
  return std::ranges::all_of(node.attribute(), [&](const pb::AttributeProto& attribute) {
    return std::ranges::all_of(attribute.g().node(), [&](const pb::NodeProto& inner) {
      return runtime_has(inner, frame);
    });
  });
}

// Writes the model without its large weights, lets ONNX inline the functions, reads it back, and
// puts the weights back.
Model with_functions_expanded(const Model& model) {
  pb::ModelProto frame;
  frame.ParseFromString(model.origin.extra);
  const Sizes own(frame);
  if (!is_wanted(model, frame, own)) return model;

  Model skeleton = model;
  const Weights taken = take_weights(skeleton.graph);
  WriteOptions dense;
  dense.profile = "dense";
  pb::ModelProto proto;
  if (!proto.ParseFromString(onnx_bytes(skeleton, dense))) return model;
  Sizes(proto).check(proto.graph());
  try {
    inline_own(proto);
    inline_schemas(proto);
  } catch (const std::exception&) {  // onnx throws its own kinds and std::runtime_error
    return model;                    // the runtime says which operator it lacks
  }
  const auto bytes = std::make_shared<const std::string>(proto.SerializeAsString());
  Model expanded = read_onnx(as_bytes(*bytes), bytes, std::nullopt);
  put_back(expanded.graph, taken);
  expanded.origin.file = model.origin.file;
  expanded.origin.bytes = model.origin.bytes;
  return expanded;
}

}  // namespace espalier
