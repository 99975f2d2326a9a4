#include "formats/onnx/read_graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "formats/onnx/read_attribute.h"
#include "formats/onnx/sparse_tensor.h"
#include "formats/onnx/value_info.h"
#include "lib/ops/operator.h"

namespace espalier {
namespace {

template <typename Message>
std::string leftovers(const Message& message) {
  return message.ByteSizeLong() == 0 ? std::string() : message.SerializeAsString();
}

std::string label(const Node& node) {
  const std::string op = full_op_name(node);
  return printable(node.name.empty() ? op : fmt::format("{} ({})", op, node.name));
}

class GraphReader {
 public:
  GraphReader(pb::GraphProto& proto, GraphSource& source, const KnownNames* outer)
      : proto_(proto), source_(source), outer_(outer), scope_{outer, &names_} {}

  // Initializers and inputs first, so that nodes find their values; subgraphs last, when all names
  // of this graph are known. What is not understood goes to Graph::extra.
  Graph read() {
    if (!proto_.name().empty()) {
      graph_.name = proto_.name();
      proto_.clear_name();
    }
    for (int i = 0; i < proto_.initializer_size(); ++i) read_initializer(i);
    for (auto& sparse : *proto_.mutable_sparse_initializer()) read_sparse_initializer(sparse);
    read_inputs();
    for (auto& node : *proto_.mutable_node()) define_node(node);
    for (size_t i = 0; i < graph_.nodes.size(); ++i) connect_node(i);
    read_outputs();
    read_value_infos();
    // Attributes last: subgraphs see every name of this graph.
    for (size_t i = 0; i < graph_.nodes.size(); ++i) read_attributes(i);
    fold_sparse_tensors();
    proto_.clear_initializer();
    proto_.clear_sparse_initializer();
    proto_.clear_node();
    graph_.extra = leftovers(proto_);
    validate_and_sort(graph_, [&](std::string_view name) {
      return outer_ != nullptr && outer_->knows(std::string(name));
    });
    return std::move(graph_);
  }

 private:
  ValueId id_of(const std::string& name) {
    const auto [at, added] = names_.try_emplace(name, static_cast<ValueId>(graph_.values.size()));
    if (added) graph_.values.push_back({name, DType::kUnknown, {}, {}, {}, {}});
    return at->second;
  }

  ValueId new_weight(const std::string& name) {
    if (name.empty()) throw Error(Fault::kFormat, "name of an initializer is missing");
    const ValueId id = id_of(name);
    if (graph_.weights.contains(id))
      throw Error(Fault::kFormat, fmt::format("duplicate initializer {}", printable(name)));
    return id;
  }

  void read_initializer(int index) {
    pb::TensorProto& proto = *proto_.mutable_initializer(index);
    const std::string name = proto.name();
    const ValueId id = new_weight(name);
    try {
      const auto at = static_cast<size_t>(index);
      const bool mapped = outer_ == nullptr && at < source_.initializer_data.size();
      Tensor tensor = take_tensor(proto, source_.external,
                                  mapped ? source_.initializer_data[at] : Bytes(), source_.owner);
      proto.clear_name();
      std::string extra = leftovers(proto);
      if (!extra.empty()) extra.insert(extra.begin(), kTensorOrigin);
      graph_.weights.emplace(id, Weight{std::move(tensor), std::move(extra)});
    } catch (Error& error) {
      error.add_context(fmt::format("initializer {}", printable(name)));
      throw;
    }
  }

  void read_sparse_initializer(pb::SparseTensorProto& proto) {
    const std::string name = proto.values().name();
    const ValueId id = new_weight(name);
    try {
      auto value = take_sparse_tensor(proto, source_.external);
      proto.mutable_values()->clear_name();
      graph_.weights.emplace(
          id, Weight{std::move(value), kSparseInitializerOrigin + proto.SerializeAsString()});
    } catch (Error& error) {
      error.add_context(fmt::format("sparse_initializer {}", printable(name)));
      throw;
    }
  }

  void set_type(ValueId id, const pb::ValueInfoProto& proto) {
    Value value = value_from_onnx(proto);
    keep_leftovers(value, proto);
    graph_.values[id] = std::move(value);
  }

  // Where constants must be listed as inputs they are none, and the list stays as it is among the
  // leftovers.
  void read_inputs() {
    const bool lists_constants = source_.lists_constants && outer_ == nullptr;
    std::unordered_set<ValueId> seen;
    for (const auto& proto : proto_.input()) {
      if (proto.name().empty()) throw Error(Fault::kFormat, "name of a graph input is missing");
      const ValueId id = id_of(proto.name());
      if (!seen.insert(id).second) {
        throw Error(Fault::kFormat,
                    fmt::format("duplicate graph input {}", printable(proto.name())));
      }
      set_type(id, proto);
      if (lists_constants && graph_.weights.contains(id)) continue;
      graph_.inputs.push_back(id);
      inputs_.insert(id);
    }
    if (seen.size() == inputs_.size()) proto_.clear_input();
  }

  // An output that is an input too has two types in the file: the second stays in `output` of the
  // leftovers.
  void read_outputs() {
    google::protobuf::RepeatedPtrField<pb::ValueInfoProto> kept;
    std::unordered_set<ValueId> seen;
    for (auto& proto : *proto_.mutable_output()) {
      if (proto.name().empty()) throw Error(Fault::kFormat, "name of a graph output is missing");
      const ValueId id = id_of(proto.name());
      graph_.outputs.push_back(id);
      if (inputs_.contains(id) || !seen.insert(id).second) {
        *kept.Add() = proto;
      } else {
        set_type(id, proto);
      }
    }
    proto_.mutable_output()->Swap(&kept);
  }

  // All value_infos stay among the leftovers; here they only tell types.
  void read_value_infos() {
    for (const auto& proto : proto_.value_info()) {
      const auto known = names_.find(proto.name());
      if (known == names_.end()) continue;
      Value& value = graph_.values[known->second];
      if (value.dtype != DType::kUnknown || value.shape) continue;
      std::string extra = std::move(value.extra);
      value = value_from_onnx(proto);
      value.extra = std::move(extra);
    }
  }

  void define_node(pb::NodeProto& proto) {
    Node node;
    if (proto.op_type().empty()) {
      throw Error(Fault::kFormat, fmt::format("node {} ({}) has no operator", graph_.nodes.size(),
                                              printable(proto.name())));
    }
    node.op = proto.op_type();
    proto.clear_op_type();
    if (!proto.name().empty()) {
      node.name = proto.name();
      proto.clear_name();
    }
    // The default domain has two names; the longer one stays among the leftovers.
    if (!proto.domain().empty() && proto.domain() != "ai.onnx") {
      node.domain = proto.domain();
      proto.clear_domain();
    }
    for (const std::string& name : proto.output())
      node.outputs.push_back(name.empty() ? kNoValue : id_of(name));
    graph_.nodes.push_back(std::move(node));
  }

  void connect_node(size_t index) {
    const pb::NodeProto& proto = proto_.node(static_cast<int>(index));
    for (const std::string& name : proto.input())
      graph_.nodes[index].inputs.push_back(name.empty() ? kNoValue : id_of(name));
  }

  void read_attributes(size_t index) {
    pb::NodeProto& proto = *proto_.mutable_node(static_cast<int>(index));
    Node& node = graph_.nodes[index];
    try {
      for (auto& attribute : *proto.mutable_attribute()) {
        if (find_attribute(node, attribute.name()) != nullptr) {
          throw Error(Fault::kFormat,
                      fmt::format("duplicate attribute {}", printable(attribute.name())));
        }
        node.attributes.push_back(take_attribute(attribute, source_, scope_));
      }
      if (is_constant(node)) read_constant(node);
    } catch (Error& error) {
      error.add_context(fmt::format("node {}", label(node)));
      throw;
    }
    proto.clear_attribute();
    proto.clear_input();
    proto.clear_output();
    node.extra = leftovers(proto);
  }

  void read_constant(Node& node) {
    const auto holds_value = [](const Attribute& a) { return is_constant_attribute(a.name); };
    if (std::ranges::count_if(node.attributes, holds_value) != 1)
      throw Error(Fault::kFormat, "expected one attribute with a value");
    Attribute& attribute = *std::ranges::find_if(node.attributes, holds_value);
    Weight weight = take_constant(attribute, source_.external);
    if (!graph_.weights.emplace(node.outputs[0], std::move(weight)).second) {
      throw Error(Fault::kFormat, fmt::format("duplicate definition of value {}",
                                              printable(graph_.values[node.outputs[0]].name)));
    }
  }

  // A sparse tensor says nothing of outputs and inputs: the first operator that reads it does.
  void fold_sparse_tensors() {
    for (const Node& node : graph_.nodes) {
      const Operator* op = find_operator(node.op, node.domain);
      if (op == nullptr || op->fold == nullptr) continue;
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        const auto weight = graph_.weights.find(node.inputs[i]);
        if (weight == graph_.weights.end() || !weight->second.is_sparse()) continue;
        const SparseMatrix& matrix = weight->second.sparse();
        const auto fold = op->fold(node, i, matrix.shape);
        if (fold && *fold != matrix.fold && folded_.insert(node.inputs[i]).second)
          weight->second.value = refolded(matrix, *fold);
      }
    }
  }

  pb::GraphProto& proto_;
  GraphSource& source_;
  const KnownNames* outer_;
  std::unordered_map<std::string, ValueId> names_;
  KnownNames scope_;
  std::unordered_set<ValueId> inputs_, folded_;
  Graph graph_;
};

}  // namespace

bool was_external(const Weight& weight) {
  const std::string_view leftovers =
      std::string_view(weight.extra).substr(weight.extra.empty() ? 0 : 1);
  if (origin_of(weight) != kTensorOrigin) {
    const bool decoded = origin_of(weight) == kFunctionOrigin || origin_of(weight) == kInlineOrigin;
    return decoded && leftovers.starts_with(kDataFileMark);
  }
  pb::TensorProto proto;
  proto.ParseFromArray(leftovers.data(), static_cast<int>(leftovers.size()));
  return proto.data_location() == pb::TensorProto::EXTERNAL;
}

bool is_constant(const Node& node) {
  return node.op == "Constant" && node.domain.empty() && node.outputs.size() == 1 &&
         node.outputs[0] != kNoValue && node.inputs.empty();
}

Graph read_graph(pb::GraphProto& proto, GraphSource& source, const KnownNames* outer) {
  return GraphReader(proto, source, outer).read();
}

Graph read_graph(pb::GraphProto& proto, GraphSource& source) {
  return read_graph(proto, source, nullptr);
}

}  // namespace espalier
