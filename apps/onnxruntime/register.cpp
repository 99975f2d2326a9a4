// RegisterCustomOps: operators of domain ai.espalier for onnxruntime, called like the functions of profiles operator and region.
#include <algorithm>
#include <deque>
#include <limits>
#include <memory>

#include "apps/onnxruntime/node_model.h"

namespace espalier::ort {
namespace {

using ElementType = ONNXTensorElementDataType;
constexpr ElementType kAnyType = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;

// onnxruntime keeps the C struct and gives it back to its functions.
struct CustomOperator : OrtCustomOp {
  std::string name;
  const PackedOperator* packed;  // null: a region
  ElementType type;              // of samples; kAnyType for a region

  // The first input that is no part of a weight: what the weights are multiplied with.
  bool is_samples(size_t input) const {
    const std::vector<bool>& parts = packed->parts;
    return input == static_cast<size_t>(std::ranges::find(parts, false) - parts.begin());
  }
};

const CustomOperator& own(const OrtCustomOp* op) { return *static_cast<const CustomOperator*>(op); }

OrtStatus* create(const OrtCustomOp* op, const OrtApi* table, const OrtKernelInfo* info,
                  void** kernel) noexcept {
  const Api api(*table);
  try {
    const CustomOperator& custom = own(op);
    *kernel = nullptr;
    NodeModel model = custom.packed == nullptr ? region_model(api, *info)
                                               : operator_model(api, *info, *custom.packed);
    *kernel = std::make_unique<Kernel>(api, std::move(model)).release();
    return nullptr;
  } catch (...) {
    return api.status_of_exception(own(op).name);
  }
}

OrtStatus* compute(void* kernel, OrtKernelContext* context) noexcept {
  Kernel& own = *static_cast<Kernel*>(kernel);
  try {
    own.run(context);
    return nullptr;
  } catch (...) {
    return own.api().status_of_exception("espalier");
  }
}

void destroy(void* kernel) noexcept { delete static_cast<Kernel*>(kernel); }

const char* name_of(const OrtCustomOp* op) noexcept { return own(op).name.c_str(); }
const char* provider(const OrtCustomOp*) noexcept { return nullptr; }  // the CPU

size_t input_count(const OrtCustomOp* op) noexcept {
  return own(op).packed == nullptr ? 1 : own(op).packed->parts.size();
}
size_t output_count(const OrtCustomOp* op) noexcept {
  return own(op).packed == nullptr ? 1 : own(op).packed->outputs;
}

// Types of outputs follow from that of the samples; a region's are in the file.
ElementType input_type(const OrtCustomOp* op, size_t index) noexcept {
  return own(op).packed != nullptr && own(op).is_samples(index) ? own(op).type : kAnyType;
}
ElementType output_type(const OrtCustomOp* op, size_t) noexcept { return own(op).type; }

OrtCustomOpInputOutputCharacteristic input_kind(const OrtCustomOp* op, size_t index) noexcept {
  const CustomOperator& custom = own(op);
  if (custom.packed == nullptr) return INPUT_OUTPUT_VARIADIC;
  const bool required = custom.packed->parts[index] || custom.is_samples(index);
  return required ? INPUT_OUTPUT_REQUIRED : INPUT_OUTPUT_OPTIONAL;
}
OrtCustomOpInputOutputCharacteristic output_kind(const OrtCustomOp* op, size_t) noexcept {
  return own(op).packed == nullptr ? INPUT_OUTPUT_VARIADIC : INPUT_OUTPUT_OPTIONAL;
}
OrtMemType input_memory(const OrtCustomOp*, size_t) noexcept { return OrtMemTypeDefault; }
int least_inputs(const OrtCustomOp*) noexcept { return 0; }
int least_outputs(const OrtCustomOp*) noexcept { return 1; }
int not_homogeneous(const OrtCustomOp*) noexcept { return 0; }
int version(const OrtCustomOp*) noexcept { return 1; }
int newest_version(const OrtCustomOp*) noexcept { return std::numeric_limits<int>::max(); }

// The table of functions is the same for all.
CustomOperator custom_operator(std::string name, const PackedOperator* packed, ElementType type) {
  CustomOperator made{};
  made.version = ORT_API_VERSION;
  made.GetName = name_of;
  made.GetExecutionProviderType = provider;
  made.GetInputTypeCount = input_count;
  made.GetInputType = input_type;
  made.GetOutputTypeCount = output_count;
  made.GetOutputType = output_type;
  made.GetInputCharacteristic = input_kind;
  made.GetOutputCharacteristic = output_kind;
  made.GetInputMemoryType = input_memory;
  made.GetVariadicInputMinArity = least_inputs;
  made.GetVariadicInputHomogeneity = not_homogeneous;
  made.GetVariadicOutputMinArity = least_outputs;
  made.GetVariadicOutputHomogeneity = not_homogeneous;
  made.CreateKernelV2 = create;
  made.KernelComputeV2 = compute;
  made.KernelDestroy = destroy;
  made.GetStartVersion = version;
  made.GetEndVersion = newest_version;
  made.name = std::move(name);
  made.packed = packed;
  made.type = type;
  return made;
}

// At fixed addresses for as long as the library is loaded.
const std::deque<CustomOperator>& custom_operators() {
  static const std::deque<CustomOperator> kOperators = [] {
    std::deque<CustomOperator> result;
    for (const PackedOperator& packed : packed_operators()) {
      for (const ElementType type :
           {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
            ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16})
        result.push_back(custom_operator(std::string(packed.name), &packed, type));
    }
    for (size_t i = 0; i < kMaxRegions; ++i)
      result.push_back(custom_operator(region_name(i), nullptr, kAnyType));
    return result;
  }();
  return kOperators;
}

OrtCustomOpDomain* make_domain(const Api& api) {
  OrtCustomOpDomain* domain = nullptr;
  api.check(api->CreateCustomOpDomain("ai.espalier", &domain));
  for (const CustomOperator& custom : custom_operators())
    api.check(api->CustomOpDomain_Add(domain, &custom));
  return domain;
}

}  // namespace
}  // namespace espalier::ort

// onnxruntime calls this when the library is registered with a session's options. The operators
// belong to the process: sessions of all options share them, and nobody can tell when the last has
// ended.
extern "C" OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  using namespace espalier::ort;
  const OrtApi* table = base->GetApi(ORT_API_VERSION);
  if (table == nullptr)
    return base->GetApi(1)->CreateStatus(ORT_FAIL, "espalier: onnxruntime is older than 1.21");
  const Api api(*table);
  try {
    static OrtCustomOpDomain* const kDomain = make_domain(api);
    return api->AddCustomOpDomain(options, kDomain);
  } catch (...) {
    return api.status_of_exception("espalier");
  }
}
