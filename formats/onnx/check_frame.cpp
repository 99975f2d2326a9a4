#include "formats/onnx/check_frame.h"

#include <fmt/format.h>
#include <onnx/defs/schema.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/error.h"

namespace espalier {
namespace {

constexpr int64_t kNewest = pb::Version::IR_VERSION;

[[noreturn]] void unknown(int64_t version, const std::string& what) {
  throw Error(Fault::kUnsupported,
              fmt::format("ir_version is {}, expected 1 to {}: {}", version, kNewest, what));
}

std::string plain_domain(const std::string& domain) { return domain == "ai.onnx" ? "" : domain; }

// ---- functions

// Domain, name, overload.
using FunctionId = std::tuple<std::string, std::string, std::string>;

FunctionId called_by(const pb::NodeProto& node) {
  return {plain_domain(node.domain()), node.op_type(), node.overload()};
}

std::string to_string(const FunctionId& id) {
  const auto& [domain, name, overload] = id;
  return printable(fmt::format("{}{}{}{}{}", domain, domain.empty() ? "" : ".", name,
                               overload.empty() ? "" : ":", overload));
}

// Calls `sink(node)` for each node, also of subgraphs; protobuf's reader bounds their depth.
template <typename Nodes, typename Sink>
void for_each_node(const Nodes& nodes, const Sink& sink) {
  for (const pb::NodeProto& node : nodes) {
    sink(node);
    for (const auto& attribute : node.attribute()) {
      if (attribute.has_g()) for_each_node(attribute.g().node(), sink);
      for (const auto& graph : attribute.graphs()) for_each_node(graph.node(), sink);
    }
  }
}

// The functions of a model and which of them each calls.
class Calls {
 public:
  explicit Calls(const pb::ModelProto& proto) {
    for (const auto& function : proto.functions()) {
      const FunctionId id{plain_domain(function.domain()), function.name(), function.overload()};
      if (!index_.emplace(id, ids_.size()).second)
        throw Error(Fault::kFormat, fmt::format("duplicate function {}", to_string(id)));
      ids_.push_back(id);
    }
    for (const auto& function : proto.functions()) {
      std::vector<size_t>& called = called_.emplace_back();
      for_each_node(function.node(), [&](const pb::NodeProto& node) {
        const auto found = index_.find(called_by(node));
        if (found != index_.end()) called.push_back(found->second);
      });
    }
  }

  bool contains(const FunctionId& id) const { return index_.contains(id); }

  // Depth first, with a stack of its own: a file may hold a chain of any length.
  void check_ends() const {
    enum class State { kNew, kOpen, kDone };
    std::vector<State> state(ids_.size(), State::kNew);
    std::vector<std::pair<size_t, size_t>> path;  // function, its next call
    for (size_t start = 0; start < ids_.size(); ++start) {
      if (state[start] == State::kNew) path.emplace_back(start, 0);
      while (!path.empty()) {
        auto& [function, next] = path.back();
        state[function] = State::kOpen;
        if (next == called_[function].size()) {
          state[function] = State::kDone;
          path.pop_back();
          continue;
        }
        const size_t called = called_[function][next++];
        if (state[called] == State::kOpen) refuse_circle(path, called);
        if (state[called] == State::kNew) path.emplace_back(called, 0);
      }
    }
  }

 private:
  [[noreturn]] void refuse_circle(const std::vector<std::pair<size_t, size_t>>& path,
                                  size_t first) const {
    constexpr size_t kShown = 6;
    std::string text;
    size_t length = 0;
    for (size_t i = path.size(); i-- > 0;) {
      ++length;
      if (path[i].first == first) break;
    }
    for (size_t i = path.size() - length; i < path.size() && i < path.size() - length + kShown; ++i)
      text += to_string(ids_[path[i].first]) + " -> ";
    if (length > kShown) text += "... -> ";
    throw Error(Fault::kFormat, fmt::format("functions call each other in a cycle: {}{}", text,
                                            to_string(ids_[first])));
  }

  std::vector<FunctionId> ids_;
  std::map<FunctionId, size_t> index_;
  std::vector<std::vector<size_t>> called_;
};

// ---- what is newer than the library

void check_fields(const google::protobuf::Message& message, int64_t version) {
  const auto* reflection = message.GetReflection();
  const auto& unknown_fields = reflection->GetUnknownFields(message);
  if (!unknown_fields.empty()) {
    unknown(version, fmt::format("field {} of {} is unknown", unknown_fields.field(0).number(),
                                 message.GetDescriptor()->name()));
  }
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  for (const auto* field : fields) {
    if (field->cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (!field->is_repeated()) {
      check_fields(reflection->GetMessage(message, field), version);
      continue;
    }
    for (int i = 0; i < reflection->FieldSize(message, field); ++i)
      check_fields(reflection->GetRepeatedMessage(message, field, i), version);
  }
}

template <typename Nodes, typename Imports>
void check_operators(const Nodes& nodes, const Imports& imports, const Calls& functions,
                     int64_t version) {
  std::map<std::string, int64_t> opsets;
  for (const auto& import : imports) opsets[plain_domain(import.domain())] = import.version();
  for_each_node(nodes, [&](const pb::NodeProto& node) {
    if (functions.contains(called_by(node))) return;
    const std::string domain = plain_domain(node.domain());
    const auto opset = opsets.find(domain);
    const auto number = opset == opsets.end() ? 0 : opset->second;
    const bool known =
        number >= 1 && number <= std::numeric_limits<int>::max() &&
        pb::OpSchemaRegistry::Schema(node.op_type(), static_cast<int>(number), domain) != nullptr;
    if (!known) unknown(version, fmt::format("operator {} is unknown", to_string(called_by(node))));
  });
}

}  // namespace

void check_frame(const pb::ModelProto& proto) {
  if (!proto.has_ir_version()) throw Error(Fault::kFormat, "has no ir_version");
  const int64_t version = proto.ir_version();
  if (version < 1) {
    throw Error(Fault::kFormat,
                fmt::format("ir_version is {}, expected 1 to {}", version, kNewest));
  }
  const Calls functions(proto);
  functions.check_ends();
  if (version <= kNewest) return;
  check_fields(proto, version);
  check_operators(proto.graph().node(), proto.opset_import(), functions, version);
  for (const auto& function : proto.functions())
    check_operators(function.node(), function.opset_import(), functions, version);
}

std::string newer_ir_version(const pb::ModelProto& proto) {
  if (proto.ir_version() <= kNewest) return "";
  return fmt::format(
      "ir_version is {}, expected 1 to {}; all of its operators and fields are known, so it is "
      "read as version {}",
      proto.ir_version(), kNewest, kNewest);
}

}  // namespace espalier
