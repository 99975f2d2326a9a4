// Raises a model's opset, for weights that are spelled with operators it does not have yet.
#include <fmt/format.h>
#include <onnx/checker.h>
#include <onnx/version_converter/convert.h>

#include <algorithm>
#include <map>
#include <set>

#include "formats/onnx/onnx_model.h"
#include "formats/onnx/proto.h"
#include "lib/ir/node_kinds.h"

namespace espalier {
namespace {

// From opset 13 on along one axis, before over all from it on: onnx 1.23.2 leaves it as it is.
bool means_other_axes(const Node& node, const Model& model, int64_t opset) {
  constexpr int64_t kAlongOneAxis = 13;
  return is_op(node, "Hardmax") && model.origin.opset < kAlongOneAxis && opset >= kAlongOneAxis;
}

// What onnx's converter loses or leaves as it was, silently.
std::string obstacle(const Model& model, int64_t opset) {
  pb::ModelProto frame;
  frame.ParseFromString(model.origin.extra);
  if (frame.functions_size() != 0) return "it has its own functions";
  std::string result;
  for (const Node& node : model.graph.nodes) {
    if (means_other_axes(node, model, opset)) result = "onnx's converter changes its Hardmax";
    for (const Attribute& attribute : node.attributes) {
      if (subgraph_of(attribute) != nullptr) result = "it has subgraphs";
    }
    if (!node.domain.empty())
      result = fmt::format("it has operators of domain {}", printable(node.domain));
  }
  return result;
}

// Before IR version 4 each initializer is an input as well; the converter adds some that are not.
void raise_ir_version(pb::ModelProto& proto) {
  if (proto.ir_version() >= kInitializersAlone) return;
  proto.set_ir_version(kInitializersAlone);
  pb::GraphProto& graph = *proto.mutable_graph();
  std::set<std::string_view> constants;
  for (const auto& initializer : graph.initializer()) constants.insert(initializer.name());
  erase_inputs(graph, constants);
}

// dilations of AveragePool, unless all are 1.
bool is_newer(const Node& node, const Attribute& attribute) {
  if (node.op != "AveragePool" || !node.domain.empty() || attribute.name != "dilations")
    return false;
  const std::vector<int64_t> dilations = ints_attribute(node, "dilations", {});
  return std::ranges::any_of(dilations, [](int64_t dilation) { return dilation != 1; });
}

// Linear Upsample and Resize before opset 11 place results as asymmetric does; onnx 1.23.2 adds no
// attribute that says so (findings/version-converter-linear-upsample.sh).
bool is_asymmetric(const Node& node, const Model& model, int64_t opset) {
  constexpr int64_t kPlacesByAttribute = 11;
  return (is_op(node, "Upsample") || is_op(node, "Resize")) &&
         model.origin.opset < kPlacesByAttribute && opset >= kPlacesByAttribute &&
         string_attribute(node, "mode", "nearest") != "nearest";
}

// By the names of their nodes' first outputs.
using NewerAttributes = std::map<std::string, Attribute>;

// The converter is given the model without what its opset does not have.
Model without_newer(Model model, int64_t opset, NewerAttributes& newer) {
  for (Node& node : model.graph.nodes) {
    if (is_asymmetric(node, model, opset))
      newer.emplace(model.graph.values[node.outputs.front()].name,
                    Attribute{"coordinate_transformation_mode", std::string("asymmetric"), {}});
    std::erase_if(node.attributes, [&](const Attribute& attribute) {
      if (!is_newer(node, attribute)) return false;
      newer.emplace(model.graph.values[node.outputs.front()].name, attribute);
      return true;
    });
  }
  return model;
}

void put_back(const NewerAttributes& newer, Graph& graph) {
  for (Node& node : graph.nodes) {
    if (node.outputs.empty() || node.outputs.front() == kNoValue) continue;
    const auto found = newer.find(graph.values[node.outputs.front()].name);
    if (found != newer.end()) node.attributes.push_back(found->second);
  }
}

pb::ModelProto converted(const Model& model, int64_t opset) {
  WriteOptions dense;
  dense.profile = "dense";
  const std::string bytes = onnx_bytes(model, dense);
  pb::ModelProto proto;
  if (!proto.ParseFromString(bytes)) throw std::runtime_error("it cannot be parsed");
  raise_ir_version(proto);
  pb::ModelProto result = pb::version_conversion::ConvertVersion(proto, static_cast<int>(opset));
  pb::checker::check_model(result);
  return result;
}

std::string one_line(std::string_view text) {
  std::string line(text.substr(0, text.find('\n')));
  return printable(line);
}

}  // namespace

int64_t opset_of_attributes(const Graph& graph) {
  constexpr int64_t kDilatedAverage = 19;
  for (const Node& node : graph.nodes) {
    for (const Attribute& attribute : node.attributes) {
      if (is_newer(node, attribute)) return kDilatedAverage;
    }
  }
  return 0;
}

std::optional<Model> at_opset(const Model& model, int64_t opset, std::string& why) {
  why = obstacle(model, opset);
  if (!why.empty()) return std::nullopt;
  NewerAttributes newer;
  const Model older = without_newer(model, opset, newer);
  try {
    const auto bytes =
        std::make_shared<const std::string>(converted(older, opset).SerializeAsString());
    Model raised = read_onnx(as_bytes(*bytes), bytes, std::nullopt);
    put_back(newer, raised.graph);
    std::map<std::string, const Weight*> packed;
    for (const auto& [id, weight] : model.graph.weights) {
      if (weight.is_sparse()) packed.emplace(model.graph.values[id].name, &weight);
    }
    for (auto& [id, weight] : raised.graph.weights) {
      const auto found = packed.find(raised.graph.values[id].name);
      if (found != packed.end() && found->second->shape() == weight.shape())
        weight = *found->second;
    }
    raised.origin.file = model.origin.file;
    return raised;
  } catch (const std::exception& error) {  // onnx throws its own kinds and std::runtime_error
    why = one_line(error.what());
    return std::nullopt;
  }
}

}  // namespace espalier
