#include "apps/onnxruntime/node_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "formats/format.h"
#include "formats/onnx/onnx_model.h"

namespace espalier::ort {
namespace {

// What onnxruntime knows about a node before it runs.
class NodeInfo {
 public:
  NodeInfo(const Api& api, const OrtKernelInfo& info) : api_(api), info_(info) {}

  size_t inputs() const {
    size_t count = 0;
    api_.check(api_->KernelInfo_GetInputCount(&info_, &count));
    return count;
  }
  size_t outputs() const {
    size_t count = 0;
    api_.check(api_->KernelInfo_GetOutputCount(&info_, &count));
    return count;
  }
  bool has_input(size_t index) const {
    size_t size = 0;  // with the zero at the end
    api_.check(api_->KernelInfo_GetInputName(&info_, index, nullptr, &size));
    return size > 1;
  }
  bool has_output(size_t index) const {
    size_t size = 0;
    api_.check(api_->KernelInfo_GetOutputName(&info_, index, nullptr, &size));
    return size > 1;
  }

  std::optional<Tensor> constant(size_t index) const {
    int is_constant = 0;
    const OrtValue* value = nullptr;
    api_.check(api_->KernelInfoGetConstantInput_tensor(&info_, index, &is_constant, &value));
    if (is_constant == 0 || value == nullptr) return std::nullopt;
    return api_.tensor(*value);
  }

  DType input_type(size_t index) const {
    OrtTypeInfo* type = nullptr;
    api_.check(api_->KernelInfo_GetInputTypeInfo(&info_, index, &type));
    const OrtTensorTypeAndShapeInfo* tensor = nullptr;
    ONNXTensorElementDataType element = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    OrtStatus* status = api_->CastTypeInfoToTensorInfo(type, &tensor);
    if (status == nullptr && tensor != nullptr)
      status = api_->GetTensorElementType(tensor, &element);
    api_->ReleaseTypeInfo(type);
    api_.check(status);
    return dtype_of(element);
  }

  // Nothing where the node does not have it.
  std::optional<Attribute::Value> attribute(const std::string& name, AttributeKind kind) const {
    switch (kind) {
      case AttributeKind::kInt:
        return one<int64_t>([&](int64_t* value) {
          return api_->KernelInfoGetAttribute_int64(&info_, name.c_str(), value);
        });
      case AttributeKind::kFloat:
        return one<float>([&](float* value) {
          return api_->KernelInfoGetAttribute_float(&info_, name.c_str(), value);
        });
      case AttributeKind::kInts:
        return list<std::vector<int64_t>>([&](int64_t* values, size_t* size) {
          return api_->KernelInfoGetAttributeArray_int64(&info_, name.c_str(), values, size);
        });
      case AttributeKind::kFloats:
        return list<std::vector<float>>([&](float* values, size_t* size) {
          return api_->KernelInfoGetAttributeArray_float(&info_, name.c_str(), values, size);
        });
      case AttributeKind::kString: {
        auto text = list<std::string>([&](char* values, size_t* size) {
          return api_->KernelInfoGetAttribute_string(&info_, name.c_str(), values, size);
        });
        if (text) std::get<std::string>(*text).pop_back();  // the zero at the end
        return text;
      }
      case AttributeKind::kStrings:  // has no function
        break;
    }
    return std::nullopt;
  }

 private:
  // An attribute that is absent is a status like any other.
  bool gave(OrtStatus* status) const {
    if (status == nullptr) return true;
    api_->ReleaseStatus(status);
    return false;
  }

  template <typename T, typename Get>
  std::optional<Attribute::Value> one(const Get& get) const {
    T value{};
    if (!gave(get(&value))) return std::nullopt;
    return Attribute::Value(value);
  }

  template <typename List, typename Get>
  std::optional<Attribute::Value> list(const Get& get) const {
    size_t size = 0;
    if (!gave(get(nullptr, &size)) || size == 0) return std::nullopt;
    List values(size, {});
    api_.check(get(values.data(), &size));
    values.resize(size);
    return Attribute::Value(std::move(values));
  }

  const Api& api_;
  const OrtKernelInfo& info_;
};

}  // namespace

NodeModel operator_model(const Api& api, const OrtKernelInfo& info, const PackedOperator& packed) {
  const NodeInfo node(api, info);
  NodeModel result;
  std::vector<Attribute> attributes;
  for (const auto& [name, kind] : packed.attributes) {
    if (auto value = node.attribute(name, kind))
      attributes.push_back({name, std::move(*value), {}});
  }
  std::vector<CallInput> inputs(node.inputs());
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!node.has_input(i)) continue;
    inputs[i] = {true, node.input_type(i), node.constant(i)};
    if (!inputs[i].constant) result.inputs.push_back({i, fmt::format("input {}", i)});
  }
  std::vector<bool> outputs(node.outputs());
  for (size_t i = 0; i < outputs.size(); ++i) {
    outputs[i] = node.has_output(i);
    if (outputs[i]) result.outputs.push_back({i, fmt::format("output {}", i)});
  }
  result.model = model_of_call(packed, std::move(attributes), inputs, outputs);
  return result;
}

NodeModel region_model(const Api& api, const OrtKernelInfo& info) {
  const NodeInfo node(api, info);
  auto text = node.attribute("body", AttributeKind::kString);
  if (!text) throw Error(Fault::kFormat, "the region has no attribute body");
  const auto body = std::make_shared<const std::string>(std::get<std::string>(std::move(*text)));
  const Model read = read_onnx(as_bytes(*body), body, std::nullopt);
  const Graph& graph = read.graph;
  if (graph.inputs.size() != node.inputs() || graph.outputs.size() != node.outputs()) {
    throw Error(
        Fault::kFormat,
        fmt::format("its body has {} inputs and {} outputs, the node {} and {}",
                    graph.inputs.size(), graph.outputs.size(), node.inputs(), node.outputs()));
  }
  NodeModel result;
  std::map<std::string, Tensor> constants;
  for (size_t i = 0; i < graph.inputs.size(); ++i) {
    const std::string& name = graph.values[graph.inputs[i]].name;
    if (auto constant = node.constant(i)) {
      constants.emplace(name, std::move(*constant));
    } else {
      result.inputs.push_back({i, name});
    }
  }
  for (size_t i = 0; i < graph.outputs.size(); ++i) {
    if (node.has_output(i)) result.outputs.push_back({i, graph.values[graph.outputs[i]].name});
  }
  result.model = runnable(with_constants(read, constants));
  return result;
}

}  // namespace espalier::ort
