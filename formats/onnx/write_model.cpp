#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "formats/onnx/lower_packed.h"
#include "formats/onnx/onnx_model.h"
#include "formats/onnx/read_graph.h"
#include "formats/onnx/region.h"
#include "formats/onnx/wire.h"
#include "formats/onnx/write_graph.h"
#include "lib/base/log.h"
#include "lib/base/made_ahead.h"
#include "lib/ir/free_dimensions.h"
#include "lib/ir/named_weights.h"
#include "lib/ops/default_inputs.h"
#include "lib/tensor/made_once.h"

namespace espalier {
namespace {

constexpr uint64_t kProtobufLimit = uint64_t{1900} << 20;

bool is_default(const std::string& domain) { return domain.empty() || domain == "ai.onnx"; }

void import_opset(pb::ModelProto& proto, const std::string& domain, int64_t version) {
  for (auto& import : *proto.mutable_opset_import()) {
    if (import.domain() != domain && !(is_default(domain) && is_default(import.domain()))) continue;
    import.set_version(version);
    return;
  }
  auto* import = proto.add_opset_import();
  import->set_domain(domain);
  import->set_version(version);
}

void add_function(pb::ModelProto& proto, const pb::FunctionProto& function) {
  for (const auto& other : proto.functions()) {
    if (other.domain() != function.domain() || other.name() != function.name()) continue;
    if (same_function(other, function)) return;
    throw Error(Fault::kUnsupported,
                fmt::format("the model has its own function {}.{}, which differs from espalier's: "
                            "use profile inline or dense",
                            function.domain(), function.name()));
  }
  *proto.add_functions() = function;
}

// All but the graph.
pb::ModelProto frame(const Model& model, const PackedNeeds& needs) {
  pb::ModelProto proto;
  if (model.origin.format == "onnx" && !model.origin.extra.empty()) {
    proto.ParseFromString(model.origin.extra);
  } else {
    proto.set_ir_version(8);
    proto.set_producer_name("espalier");
  }
  import_opset(proto, "", model.origin.opset);
  if (proto.ir_version() < needs.ir_version) proto.set_ir_version(needs.ir_version);
  for (const auto& [name, form] : needs.functions)
    add_function(proto, decode_function(form, model.origin.opset));
  for (const auto& [name, form] : needs.operators)
    add_function(proto, operator_function(*form, model.origin.opset));
  if (!needs.functions.empty() || !needs.operators.empty())
    import_opset(proto, std::string(kDecodeDomain), kPackedVersion);
  return proto;
}

// A serialised message cut where the fields go that are written one by one.
struct Cut {
  std::string head, tail;
  template <typename Message>
  Cut(const Message& message, uint32_t field) {
    if (message.ByteSizeLong() > kProtobufLimit) {
      throw Error(Fault::kUnsupported,
                  fmt::format("{} bytes without the weights, a model file can have less than 2 GiB",
                              message.ByteSizeLong()));
    }
    head = message.SerializeAsString();
    const size_t at = wire_position(head, field);
    tail = head.substr(at);
    head.resize(at);
  }
  uint64_t size() const { return head.size() + tail.size(); }
};

// An initializer as the graph holds it, its elements still to come.
struct PlacedTensor {
  std::string head, tail;
  StoredTensor tensor;

  explicit PlacedTensor(StoredTensor stored) : tensor(std::move(stored)) {
    Cut cut(tensor.proto, pb::TensorProto::kRawDataFieldNumber);
    uint64_t size = cut.size();
    if (tensor.data) {
      cut.head += wire_header(pb::TensorProto::kRawDataFieldNumber, tensor.bytes);
      size = cut.size() + tensor.bytes;
    }
    head = wire_header(pb::GraphProto::kInitializerFieldNumber, size) + cut.head;
    tail = std::move(cut.tail);
    tensor.proto.Clear();
  }
  uint64_t size() const { return head.size() + tail.size() + (tensor.data ? tensor.bytes : 0); }
};

void write_data(const ExternalWriter& external, const std::function<void(Bytes)>& sink) {
  static constexpr std::array<std::byte, 4096> kPadding{};
  uint64_t at = 0;
  const auto make = [&](size_t i) { return made_once(external.parts[i].data()); };
  for_each_made_ahead(external.parts.size(), make, [&](size_t i, const Tensor& data) {
    sink(Bytes(kPadding).first(external.parts[i].offset - at));
    sink(data.bytes());
    at = external.parts[i].offset + data.byte_size();
    data.give_back();
  });
}

void check_options(const WriteOptions& options) {
  constexpr std::array<std::string_view, 8> kProfiles{
      "",       "function",     "operator",           "region",
      "inline", "sparse-value", "sparse-initializer", "dense"};
  if (std::ranges::find(kProfiles, options.profile) == kProfiles.end()) {
    throw Error(
        Fault::kUsage,
        fmt::format("profile is '{}', expected function, operator, region, inline, sparse-value, "
                    "sparse-initializer or dense",
                    printable(options.profile)));
  }
  constexpr std::array<std::string_view, 4> kIndices{"", "grid", "first-element", "bitmap"};
  if (std::ranges::find(kIndices, options.index) == kIndices.end()) {
    throw Error(Fault::kUsage, fmt::format("index is '{}', expected grid, first-element or bitmap",
                                           printable(options.index)));
  }
  if (options.profile == "operator" && !options.index.empty() && options.index != "grid")
    throw Error(Fault::kUsage, "profile operator has index grid alone");
}

// The model spelled out, at an opset that has the operators for it.
struct Lowered {
  Model model;
  PackedNeeds needs;
};

// A model of another format at the opset that its attributes need.
Model with_opset_of_attributes(const Model& model) {
  const int64_t opset = opset_of_attributes(model.graph);
  if (model.origin.format == "onnx" || opset <= model.origin.opset) return model;
  std::string why;
  if (auto raised = at_opset(model, opset, why)) return *std::move(raised);
  throw Error(
      Fault::kUnsupported,
      fmt::format("AveragePool with dilations requires opset {}, the model has {} and cannot "
                  "be converted ({})",
                  opset, model.origin.opset, why));
}

Lowered lowered_model(const Model& given, const WriteOptions& options) {
  const Model model = with_opset_of_attributes(given);
  Lowered result{model, {}};
  result.model.graph = lowered(model.graph, model.origin.opset, options, result.needs);
  if (result.needs.opset <= model.origin.opset) return result;
  std::string why;
  const int64_t opset = result.needs.opset;
  const std::optional<Model> raised = at_opset(model, opset, why);
  if (!raised) {
    warn(
        fmt::format("packed weights require opset {}, the model has {} and cannot be converted "
                    "({}): stored dense",
                    opset, model.origin.opset, why));
  }
  WriteOptions again = options;
  if (!raised) again.profile = "dense";
  result = {raised ? *raised : model, {}};
  const Graph& graph = raised ? raised->graph : model.graph;
  result.model.graph = lowered(graph, result.model.origin.opset, again, result.needs);
  return result;
}

// Where a packed weight was listed among the inputs, they are a list of parameters: what is left of it
// would be read as inputs with a default.
void drop_listed_parameters(const Graph& given, Graph& written) {
  std::set<std::string_view> names;
  for (const ValueId id : written.inputs) names.insert(written.values[id].name);
  const auto is_gone = [&](ValueId id) { return !names.contains(given.values[id].name); };
  if (!std::ranges::any_of(default_inputs(given), is_gone)) return;
  std::erase_if(written.inputs, [&](ValueId id) { return written.weights.contains(id); });
}

// Since IR version 4 an initializer that is an input is a default value: those that had to be listed
// are taken out.
void drop_listed_constants(pb::GraphProto& proto, const Graph& graph) {
  std::set<std::string_view> constants;
  for (const auto& [id, weight] : graph.weights) constants.insert(graph.values[id].name);
  for (const ValueId id : graph.inputs) constants.erase(graph.values[id].name);
  erase_inputs(proto, constants);
}

// Writes the message piece by piece, so that no second copy of the weights is made: the head of the
// model, the graph with its tensors one by one, the rest.
void write_model_bytes(const Lowered& what, bool regions, const OnnxOutput& output) {
  const bool own_extra = what.model.origin.format == "onnx";
  ExternalWriter external{output.data_file, {}, 0};
  std::vector<StoredTensor> initializers;
  pb::GraphProto graph = graph_proto(what.model.graph, own_extra, external, initializers);
  if (graph.name().empty() && !own_extra) graph.set_name("espalier");
  pb::ModelProto rest = frame(what.model, what.needs);
  if (rest.ir_version() >= kInitializersAlone) drop_listed_constants(graph, what.model.graph);
  if (regions) take_regions(graph, rest, initializers);
  const Cut model_cut(rest, pb::ModelProto::kGraphFieldNumber);
  const Cut graph_cut(graph, pb::GraphProto::kInitializerFieldNumber);
  graph.Clear();
  std::vector<PlacedTensor> placed;
  uint64_t size = graph_cut.size();
  for (StoredTensor& tensor : initializers) {
    placed.emplace_back(std::move(tensor));
    size += placed.back().size();
  }
  if (size + model_cut.size() >= uint64_t{1} << 31) {
    throw Error(Fault::kUnsupported,
                fmt::format("{} bytes in one message, protobuf takes less than 2 GiB", size));
  }
  write_data(external, output.data);
  const auto put = [&](std::string_view text) { output.model(as_bytes(text)); };
  put(model_cut.head);
  put(wire_header(pb::ModelProto::kGraphFieldNumber, size));
  put(graph_cut.head);
  for (PlacedTensor& tensor : placed) {
    put(tensor.head);
    if (tensor.tensor.data) {
      const Tensor data = tensor.tensor.data();
      output.model(data.bytes());
      data.give_back();
    }
    put(tensor.tail);
    tensor = PlacedTensor(StoredTensor{});  // lets go of what was decoded for it
  }
  put(graph_cut.tail);
  put(model_cut.tail);
}

}  // namespace

bool wants_data_file(const Model& model) {
  constexpr uint64_t kWorthAFile = uint64_t{1} << 20;
  uint64_t bytes = 0;
  bool external = false;
  for_each_graph(model.graph, [&](const Graph& graph, const std::string&) {
    for (const auto& [id, weight] : graph.weights) {
      bytes += weight_bytes(weight);
      external = external || (model.origin.format == "onnx" && was_external(weight));
    }
  });
  return bytes > kProtobufLimit || (external && bytes > kWorthAFile);
}

void write_onnx(const Model& model, const WriteOptions& options, const OnnxOutput& output) {
  check_options(options);
  Lowered what = lowered_model(model, options);
  drop_listed_parameters(model.graph, what.model.graph);
  bind_free_dimensions(what.model.graph, options.shapes);
  write_model_bytes(what, options.profile == "region", output);
}

std::string onnx_bytes(const Model& model, const WriteOptions& options) {
  std::string result;
  write_onnx(model, options, {"", {}, [&](Bytes bytes) { result.append(as_text(bytes)); }});
  return result;
}

}  // namespace espalier
