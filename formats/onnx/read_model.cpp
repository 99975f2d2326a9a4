#include <fmt/format.h>
#include <google/protobuf/stubs/logging.h>
#include <onnx/defs/schema.h>

#include <algorithm>
#include <limits>

#include "formats/onnx/check_frame.h"
#include "formats/onnx/onnx_model.h"
#include "formats/onnx/read_graph.h"
#include "formats/onnx/recognise_decode.h"
#include "formats/onnx/region.h"
#include "formats/onnx/wire.h"

namespace espalier {
namespace {

constexpr int64_t kOldestOpset = 7;

bool is_default(const std::string& domain) { return domain.empty() || domain == "ai.onnx"; }

int64_t newest_opset() {
  return pb::OpSchemaRegistry::DomainToVersionRange::Instance().Map().at("").second;
}

// The first operator of an old opset that means something else from opset 7 on.
std::string changed_since(const pb::GraphProto& graph, int opset) {
  for (const auto& node : graph.node()) {
    if (is_default(node.domain())) {
      const auto* old = pb::OpSchemaRegistry::Schema(node.op_type(), opset, "");
      const auto* now = pb::OpSchemaRegistry::Schema(node.op_type(), kOldestOpset, "");
      if (old == nullptr || now == nullptr || old->since_version() != now->since_version())
        return node.op_type();
    }
    for (const auto& attribute : node.attribute()) {
      std::string inner = attribute.has_g() ? changed_since(attribute.g(), opset) : "";
      if (!inner.empty()) return inner;
    }
  }
  return {};
}

bool uses_default_domain(const pb::GraphProto& graph) {
  return std::ranges::any_of(graph.node(), [](const pb::NodeProto& node) {
    const auto in_subgraph = [](const pb::AttributeProto& attribute) {
      return attribute.has_g() && uses_default_domain(attribute.g());
    };
    return is_default(node.domain()) || std::ranges::any_of(node.attribute(), in_subgraph);
  });
}

// The opset of the default domain, checked against the supported range. An older one is accepted
// where the model uses no operator that changed since.
int64_t default_opset(const pb::ModelProto& proto) {
  std::optional<int64_t> opset;
  for (const auto& import : proto.opset_import()) {
    if (!is_default(import.domain())) continue;
    if (opset && *opset != import.version()) {
      throw Error(Fault::kFormat, fmt::format("imports opset {} and opset {} of the default domain",
                                              *opset, import.version()));
    }
    opset = import.version();
  }
  if (!opset && uses_default_domain(proto.graph()))
    throw Error(Fault::kFormat, "imports no operator set of the default domain");
  if (!opset) return newest_opset();
  const bool old = *opset >= 1 && *opset < kOldestOpset;
  const std::string changed =
      old ? changed_since(proto.graph(), static_cast<int>(*opset)) : std::string();
  if (old && !changed.empty()) {
    throw Error(Fault::kUnsupported,
                fmt::format("{} of opset {} is not supported, expected opset {} to {}",
                            printable(changed), *opset, kOldestOpset, newest_opset()));
  }
  if (*opset < 1 || *opset > newest_opset()) {
    throw Error(Fault::kUnsupported, fmt::format("opset {} is not supported, expected {} to {}",
                                                 *opset, kOldestOpset, newest_opset()));
  }
  return *opset;
}

pb::ModelProto parsed(const std::string& bytes) {
  // protobuf would write to stderr; its failures are reported here.
  static const auto kSilent = google::protobuf::SetLogHandler(nullptr);
  static_cast<void>(kSilent);
  if (bytes.size() > static_cast<size_t>(std::numeric_limits<int>::max())) {
    throw Error(Fault::kUnsupported,
                fmt::format("{} bytes without the large weights, protobuf takes less than 2 GiB",
                            bytes.size()));
  }
  pb::ModelProto proto;
  if (!proto.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    throw Error(Fault::kFormat,
                "is truncated or damaged inside its graph, or its graphs are nested more than 30 "
                "levels deep");
  }
  return proto;
}

int64_t opset_of(const pb::FunctionProto& function) {
  for (const auto& import : function.opset_import()) {
    if (is_default(import.domain())) return import.version();
  }
  return 0;
}

// Functions that are ours and still what we would write.
DecodeFunctions decode_functions(const pb::ModelProto& proto) {
  DecodeFunctions result;
  for (const auto& function : proto.functions()) {
    if (function.domain() != kDecodeDomain) continue;
    for (const DecodeForm& form : all_decode_forms()) {
      if (decode_name(form) == function.name() && same_function(function, decode_function(form, 0)))
        result.emplace(function.name(), form);
    }
  }
  return result;
}

OperatorFunctions operator_functions(const pb::ModelProto& proto) {
  OperatorFunctions result;
  for (const auto& function : proto.functions()) {
    if (function.domain() != kDecodeDomain) continue;
    const OperatorForm* form = find_operator_form(function.name());
    if (form != nullptr && same_function(function, operator_function(*form, opset_of(function))))
      result.insert(function.name());
  }
  return result;
}

// What a call that was not recognised, or a function of the model, still needs stays.
bool still_called(const Model& model, const pb::ModelProto& proto, const std::string& name) {
  bool called = false;
  for_each_graph(model.graph, [&](const Graph& graph, const std::string&) {
    for (const Node& node : graph.nodes)
      called = called || (node.domain == kDecodeDomain && node.op == name);
  });
  for (const auto& function : proto.functions()) {
    for (const auto& node : function.node())
      called = called || (node.domain() == kDecodeDomain && node.op_type() == name);
  }
  return called;
}

// Takes out the functions of `names` that nothing calls any more, and the domain with the last.
void drop_functions(const Model& model, pb::ModelProto& proto, const std::set<std::string>& names) {
  auto* list = proto.mutable_functions();
  for (int i = list->size() - 1; i >= 0; --i) {
    const auto& function = list->Get(i);
    if (function.domain() == kDecodeDomain && names.contains(function.name()) &&
        !still_called(model, proto, function.name()))
      list->DeleteSubrange(i, 1);
  }
  for (const auto& function : *list) {
    if (function.domain() == kDecodeDomain) return;
  }
  auto* imports = proto.mutable_opset_import();
  for (int i = imports->size() - 1; i >= 0; --i) {
    if (imports->Get(i).domain() == kDecodeDomain && !names.empty()) imports->DeleteSubrange(i, 1);
  }
}

}  // namespace

Model with_constants(const Model& model, const std::map<std::string, Tensor>& constants) {
  pb::ModelProto proto;
  ESPALIER_CHECK(proto.ParseFromString(model.origin.extra));
  Model result = model;
  Graph& graph = result.graph;
  std::erase_if(graph.inputs, [&](ValueId id) {
    const auto constant = constants.find(graph.values[id].name);
    if (constant == constants.end()) return false;
    graph.weights.insert_or_assign(id, Weight{constant->second, {}});
    return true;
  });
  const DecodeFunctions functions = decode_functions(proto);
  graph = with_packed_weights(std::move(graph), functions);
  std::set<std::string> known;
  for (const auto& [name, form] : functions) known.insert(name);
  drop_functions(result, proto, known);
  result.origin.extra = proto.SerializeAsString();
  return result;
}

Model read_onnx(Bytes bytes, std::shared_ptr<const void> owner,
                std::optional<std::filesystem::path> folder) {
  LeanModel lean = without_large_data(bytes);
  pb::ModelProto proto = parsed(lean.bytes);
  std::string().swap(lean.bytes);
  if (!proto.has_graph()) throw Error(Fault::kFormat, "has no graph");
  check_frame(proto);
  for (const auto& import : proto.opset_import())
    if (import.domain() == kDecodeDomain) check_packed_version(import.version());
  put_back_regions(proto);
  ExternalFiles external(std::move(folder));
  Model model;
  model.origin.format = "onnx";
  model.origin.opset = default_opset(proto);
  GraphSource source{external, std::move(owner), std::move(lean.initializer_data),
                     proto.ir_version() < kInitializersAlone};
  model.graph = read_graph(*proto.mutable_graph(), source);
  take_region_constants(model.graph);
  proto.clear_graph();
  const DecodeFunctions functions = decode_functions(proto);
  const OperatorFunctions operators = operator_functions(proto);
  model.graph = with_packed_weights(std::move(model.graph), functions, operators);
  std::set<std::string> known = operators;
  for (const auto& [name, form] : functions) known.insert(name);
  drop_functions(model, proto, known);
  model.origin.extra = proto.SerializeAsString();
  model.origin.bytes = bytes.size() + external.bytes();
  return model;
}

}  // namespace espalier
