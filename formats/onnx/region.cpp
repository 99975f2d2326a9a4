#include "formats/onnx/region.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "formats/format.h"
#include "formats/onnx/decode_function.h"
#include "formats/onnx/onnx_model.h"
#include "formats/onnx/runtime_has.h"
#include "lib/base/log.h"

namespace espalier {
namespace {

using Names = std::vector<std::string>;

bool is_decode(const pb::NodeProto& node) { return node.domain() == kDecodeDomain; }

// Calls read(name) for what a node reads from the graph it is in, subgraphs included: names that
// those define themselves may be among it, which is harmless as names are unique.
template <typename Read>
void for_each_read(const pb::NodeProto& node, const Read& read) {
  for (const std::string& name : node.input()) {
    if (!name.empty()) read(name);
  }
  const auto inside = [&](const pb::GraphProto& graph) {
    for (const pb::NodeProto& inner : graph.node()) for_each_read(inner, read);
    for (const auto& output : graph.output()) read(output.name());
  };
  for (const auto& attribute : node.attribute()) {
    if (attribute.has_g()) inside(attribute.g());
    for (const pb::GraphProto& graph : attribute.graphs()) inside(graph);
  }
}

// Calls found(name) for each decode function that the node, or one in its subgraphs, calls.
template <typename Found>
void for_each_decode(const pb::NodeProto& node, const Found& found) {
  if (is_decode(node)) found(node.op_type());
  for (const auto& attribute : node.attribute()) {
    for (const pb::NodeProto& inner : attribute.g().node()) for_each_decode(inner, found);
  }
}

// One run: indices of its nodes, ascending.
struct Run {
  std::vector<int> nodes;
  Names constants, inputs, outputs;
};

class Regions {
 public:
  // Collects what is known of each value: its type, who reads it, where it is from.
  Regions(pb::GraphProto& graph, pb::ModelProto& frame, std::vector<StoredTensor>& initializers)
      : graph_(graph), frame_(frame), initializers_(initializers) {
    for (const auto& info : graph.input()) infos_[info.name()] = info;
    for (const auto& info : graph.value_info()) infos_[info.name()] = info;
    for (const auto& info : graph.output()) infos_[info.name()] = info;
    for (const StoredTensor& tensor : initializers) {
      pb::ValueInfoProto& info = infos_[tensor.proto.name()];
      info.set_name(tensor.proto.name());
      auto& type = *info.mutable_type()->mutable_tensor_type();
      type.set_elem_type(tensor.proto.data_type());
      type.mutable_shape()->clear_dim();
      for (const int64_t extent : tensor.proto.dims())
        type.mutable_shape()->add_dim()->set_dim_value(extent);
      outside_.insert(tensor.proto.name());
      if (is_small(tensor)) small_.emplace(tensor.proto.name(), &tensor);
    }
    for (const auto& info : graph.input()) {
      outside_.insert(info.name());
      small_.erase(info.name());
    }
    for (const auto& node : graph.node())
      outside_.insert(node.output().begin(), node.output().end());
    for (int i = 0; i < graph.node_size(); ++i) {
      for_each_read(graph.node(i), [&](const std::string& name) { readers_[name].insert(i); });
    }
    for (const auto& output : graph.output()) outputs_.insert(output.name());
  }

  void take() {
    std::vector<Run> runs = with_packed_weights();
    if (runs.size() > kMaxRegions) {
      warn(fmt::format("{} runs of operators read packed weights, the first {} become regions",
                       runs.size(), kMaxRegions));
      runs.resize(kMaxRegions);
    }
    std::erase_if(runs, [&](Run& run) { return !fill(run); });
    std::map<int, pb::NodeProto> calls;  // by the run's last node
    std::set<int> gone;
    for (size_t i = 0; i < runs.size(); ++i) {
      calls[runs[i].nodes.back()] = call(runs[i], i);
      gone.insert(runs[i].nodes.begin(), runs[i].nodes.end());
    }
    google::protobuf::RepeatedPtrField<pb::NodeProto> nodes;
    for (int i = 0; i < graph_.node_size(); ++i) {
      if (!gone.contains(i)) *nodes.Add() = std::move(*graph_.mutable_node(i));
      if (calls.contains(i)) *nodes.Add() = std::move(calls.at(i));
    }
    graph_.mutable_node()->Swap(&nodes);
    drop_moved(runs);
  }

 private:
  static bool is_small(const StoredTensor& tensor) {
    constexpr size_t kSmall = 1024;
    return tensor.proto.data_location() != pb::TensorProto::EXTERNAL &&
           tensor.bytes + tensor.proto.ByteSizeLong() <= kSmall;
  }

  // Initializers that only regions read.
  void drop_moved(const std::vector<Run>& runs) {
    std::unordered_set<std::string> moved;
    for (const Run& run : runs) moved.insert(run.constants.begin(), run.constants.end());
    for (const auto& node : graph_.node())
      for_each_read(node, [&](const std::string& name) { moved.erase(name); });
    for (const auto& output : graph_.output()) moved.erase(output.name());
    std::erase_if(initializers_,
                  [&](const StoredTensor& tensor) { return moved.contains(tensor.proto.name()); });
  }

  pb::NodeProto constant_node(const std::string& name) const {
    pb::NodeProto node;
    node.set_op_type("Constant");
    node.set_name(std::string(kRegionConstant));
    node.add_output(name);
    pb::AttributeProto& value = *node.add_attribute();
    value.set_name("value");
    value.set_type(pb::AttributeProto::TENSOR);
    *value.mutable_t() = complete(StoredTensor(*small_.at(name)));
    value.mutable_t()->clear_name();
    return node;
  }

  // Neighbours that the runtime has, with the decodes that they alone read; without such a decode
  // there is nothing to gain.
  std::vector<Run> with_packed_weights() const {
    std::vector<std::set<int>> runs(1);
    for (int i = 0; i < graph_.node_size(); ++i) {
      if (is_decode(graph_.node(i))) continue;
      if (runtime_has(graph_.node(i), frame_)) {
        runs.back().insert(i);
      } else if (!runs.back().empty()) {
        runs.emplace_back();
      }
    }
    std::vector<Run> result;
    for (std::set<int>& run : runs) {
      std::vector<int> decodes;
      for (int i = 0; i < graph_.node_size(); ++i) {
        if (is_decode(graph_.node(i)) && read_only_in(graph_.node(i), run)) decodes.push_back(i);
      }
      bool inside = false;  // of subgraphs
      for (const int i : run)
        for_each_decode(graph_.node(i), [&](const std::string&) { inside = true; });
      if (decodes.empty() && !inside) continue;
      run.insert(decodes.begin(), decodes.end());
      result.push_back({{run.begin(), run.end()}, {}, {}, {}});
    }
    return result;
  }

  bool read_only_in(const pb::NodeProto& decode, const std::set<int>& run) const {
    const std::string& weight = decode.output(0);
    const auto readers = readers_.find(weight);
    return readers != readers_.end() && !outputs_.contains(weight) &&
           std::ranges::all_of(readers->second, [&](int reader) { return run.contains(reader); });
  }

  // Inputs in the order in which they are first read. False where an output has no known type.
  bool fill(Run& run) const {
    const std::set<int> own(run.nodes.begin(), run.nodes.end());
    std::unordered_set<std::string> seen;
    for (const int i : run.nodes)
      seen.insert(graph_.node(i).output().begin(), graph_.node(i).output().end());
    for (const int i : run.nodes) {
      for_each_read(graph_.node(i), [&](const std::string& name) {
        if (!outside_.contains(name) || !seen.insert(name).second) return;
        (small_.contains(name) ? run.constants : run.inputs).push_back(name);
      });
      for (const std::string& name : graph_.node(i).output()) {
        if (!name.empty() && is_read_outside(name, own)) run.outputs.push_back(name);
      }
    }
    for (const std::string& name : run.outputs) {
      if (has_type(name)) continue;
      warn(fmt::format("{}: the file does not say its type: the operators before it are no region",
                       printable(name)));
      return false;
    }
    return !run.outputs.empty();
  }

  bool is_read_outside(const std::string& name, const std::set<int>& own) const {
    if (outputs_.contains(name)) return true;
    const auto readers = readers_.find(name);
    return readers != readers_.end() &&
           std::ranges::any_of(readers->second, [&](int reader) { return !own.contains(reader); });
  }

  // onnxruntime takes the types of such a call's outputs from the file.
  bool has_type(const std::string& name) const {
    const auto info = infos_.find(name);
    return info != infos_.end() && info->second.type().tensor_type().elem_type() != 0;
  }

  pb::ValueInfoProto info_of(const std::string& name) const {
    const auto known = infos_.find(name);
    if (known != infos_.end()) return known->second;
    pb::ValueInfoProto info;
    info.set_name(name);
    return info;
  }

  // The run as a model of its own; value infos of what nobody outside sees move there.
  pb::ModelProto body(const Run& run) {
    pb::ModelProto model;
    model.set_ir_version(frame_.ir_version());
    *model.mutable_opset_import() = frame_.opset_import();
    pb::GraphProto& graph = *model.mutable_graph();
    graph.set_name(graph_.name());
    std::unordered_set<std::string> inside;
    std::set<std::string> called;
    for (const std::string& name : run.constants) *graph.add_node() = constant_node(name);
    for (const int i : run.nodes) {
      const pb::NodeProto& node = graph_.node(i);
      *graph.add_node() = node;
      for_each_decode(node, [&](const std::string& name) { called.insert(name); });
      inside.insert(node.output().begin(), node.output().end());
    }
    for (const std::string& name : run.inputs) *graph.add_input() = info_of(name);
    for (const std::string& name : run.outputs) {
      *graph.add_output() = info_of(name);
      inside.erase(name);
    }
    auto* infos = graph_.mutable_value_info();
    for (const pb::ValueInfoProto& info : *infos) {
      if (inside.contains(info.name())) *graph.add_value_info() = info;
    }
    infos->erase(std::remove_if(infos->begin(), infos->end(),
                                [&](const auto& info) { return inside.contains(info.name()); }),
                 infos->end());
    for (const pb::FunctionProto& function : frame_.functions()) {
      if (function.domain() == kDecodeDomain && called.contains(function.name()))
        *model.add_functions() = function;
    }
    return model;
  }

  // Adds the function and gives the call.
  pb::NodeProto call(const Run& run, size_t index) {
    const pb::ModelProto model = body(run);
    pb::FunctionProto& function = *frame_.add_functions();
    function.set_name(region_name(index));
    function.set_domain(std::string(kDecodeDomain));
    function.set_doc_string("Operators that read packed weights.");
    function.add_attribute("body");
    *function.mutable_node() = model.graph().node();
    *function.mutable_opset_import() = frame_.opset_import();
    pb::NodeProto node;
    node.set_op_type(region_name(index));
    node.set_domain(std::string(kDecodeDomain));
    node.set_name(region_name(index));
    pb::AttributeProto& body = *node.add_attribute();
    body.set_name("body");
    body.set_type(pb::AttributeProto::STRING);
    body.set_s(model.SerializeAsString());
    for (const std::string& name : run.inputs) {
      function.add_input(name);
      node.add_input(name);
    }
    for (const std::string& name : run.outputs) {
      function.add_output(name);
      node.add_output(name);
    }
    return node;
  }

  pb::GraphProto& graph_;
  pb::ModelProto& frame_;
  std::vector<StoredTensor>& initializers_;
  std::unordered_map<std::string, const StoredTensor*> small_;
  std::unordered_map<std::string, pb::ValueInfoProto> infos_;
  std::unordered_set<std::string> outside_;  // values of the graph
  std::unordered_map<std::string, std::set<int>> readers_;
  std::unordered_set<std::string> outputs_;
};

const pb::FunctionProto* find_function(const pb::ModelProto& proto, const pb::NodeProto& call) {
  if (!is_decode(call) || !call.op_type().starts_with(kRegionName)) return nullptr;
  const auto found = std::ranges::find_if(proto.functions(), [&](const auto& function) {
    return function.domain() == kDecodeDomain && function.name() == call.op_type();
  });
  return found == proto.functions().end() ? nullptr : &*found;
}

template <typename Nodes>
bool same_nodes(const Nodes& a, const Nodes& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.SerializeAsString() == y.SerializeAsString();
  });
}

// The body of a call that can be put in its place: the function's values have the names that they
// have outside.
std::optional<pb::ModelProto> body_of(const pb::NodeProto& call,
                                      const pb::FunctionProto& function) {
  if (!std::ranges::equal(call.input(), function.input()) ||
      !std::ranges::equal(call.output(), function.output()))
    return std::nullopt;
  const auto text = std::ranges::find_if(
      call.attribute(), [](const auto& attribute) { return attribute.name() == "body"; });
  if (text == call.attribute().end()) return std::nullopt;
  pb::ModelProto body;
  if (!body.ParseFromString(text->s()) || !same_nodes(body.graph().node(), function.node())) {
    throw Error(Fault::kFormat, fmt::format("node {}: its attribute body differs from function {}",
                                            printable(call.name()), printable(function.name())));
  }
  return body;
}

}  // namespace

std::string region_name(size_t index) {
  return index == 0 ? std::string(kRegionName) : fmt::format("{}{}", kRegionName, index);
}

void take_region_constants(Graph& graph) {
  std::erase_if(graph.nodes, [](const Node& node) {
    return node.op == "Constant" && node.name == kRegionConstant;
  });
}

void take_regions(pb::GraphProto& graph, pb::ModelProto& frame,
                  std::vector<StoredTensor>& initializers) {
  Regions(graph, frame, initializers).take();
}

void put_back_regions(pb::ModelProto& proto) {
  pb::GraphProto& graph = *proto.mutable_graph();
  if (std::ranges::none_of(graph.node(), [&](const pb::NodeProto& node) {
        return find_function(proto, node) != nullptr;
      }))
    return;
  google::protobuf::RepeatedPtrField<pb::NodeProto> decodes, nodes;
  std::set<std::string> gone;
  for (pb::NodeProto& node : *graph.mutable_node()) {
    const pb::FunctionProto* function = find_function(proto, node);
    auto body = function == nullptr ? std::nullopt : body_of(node, *function);
    if (!body) {
      *nodes.Add() = std::move(node);
      continue;
    }
    gone.insert(function->name());
    // Decodes at the front stand for initializers.
    for (pb::NodeProto& inner : *body->mutable_graph()->mutable_node())
      *(is_decode(inner) || inner.name() == kRegionConstant ? decodes : nodes).Add() =
          std::move(inner);
    graph.mutable_value_info()->MergeFrom(body->graph().value_info());
  }
  for (pb::NodeProto& node : nodes) *decodes.Add() = std::move(node);
  graph.mutable_node()->Swap(&decodes);
  auto* functions = proto.mutable_functions();
  functions->erase(std::remove_if(functions->begin(), functions->end(),
                                  [&](const auto& function) {
                                    return function.domain() == kDecodeDomain &&
                                           gone.contains(function.name());
                                  }),
                   functions->end());
}

}  // namespace espalier
