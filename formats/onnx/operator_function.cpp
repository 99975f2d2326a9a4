#include "formats/onnx/operator_function.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "formats/onnx/data_type.h"
#include "formats/onnx/operator_signature.h"
#include "formats/onnx/read_attribute.h"

namespace espalier {
namespace {

const std::map<AttributeKind, pb::AttributeProto::AttributeType> kTypes{
    {AttributeKind::kInt, pb::AttributeProto::INT},
    {AttributeKind::kFloat, pb::AttributeProto::FLOAT},
    {AttributeKind::kString, pb::AttributeProto::STRING},
    {AttributeKind::kInts, pb::AttributeProto::INTS},
    {AttributeKind::kFloats, pb::AttributeProto::FLOATS},
    {AttributeKind::kStrings, pb::AttributeProto::STRINGS}};

// What is not in the matrix is there and does nothing: a scale of one, a diagonal next to it. So
// one function does for every weight.
DecodeForm longest_form(DType values, DType weight) {
  DecodeForm form;
  form.transposed = form.ragged = form.diagonal = true;
  form.values = values, form.weight = weight;
  return form;
}

void refer(pb::NodeProto& node, const std::string& attribute, const std::string& to,
           AttributeKind kind) {
  auto* list = node.mutable_attribute();
  list->erase(std::remove_if(list->begin(), list->end(),
                             [&](const auto& own) { return own.name() == attribute; }),
              list->end());
  pb::AttributeProto& made = *node.add_attribute();
  made.set_name(attribute);
  made.set_ref_attr_name(to);
  made.set_type(kTypes.at(kind));
}

pb::NodeProto& add_node(pb::FunctionProto& function, std::string_view op,
                        const std::string& output) {
  pb::NodeProto& node = *function.add_node();
  node.set_op_type(std::string(op));
  node.add_output(output);
  return node;
}

// The decode of one packed input: the longest form, in f32, with what differs from weight to weight
// taken from attributes.
void add_decode(pb::FunctionProto& function, const std::string& input) {
  const auto own = [&](const std::string& name) {
    return name == "weight" ? input : input + "_" + name;
  };
  for (DecodeStep& step : decode_steps(longest_form(DType::kI8, DType::kF32))) {
    if (step.op == "Where") {  // the diagonal may be narrow
      pb::NodeProto& cast = add_node(function, "Cast", own("diagonal_f32"));
      cast.add_input(own("diagonal"));
      *cast.add_attribute() =
          put_attribute({"to", static_cast<int64_t>(onnx_from_dtype(DType::kF32)), {}}, false);
      step.inputs[1] = "diagonal_f32";
    }
    const bool last = step.output == "weight";
    pb::NodeProto& node = add_node(function, step.op, last ? own("f32") : own(step.output));
    for (const std::string& from : step.inputs) node.add_input(own(from));
    for (const Attribute& attribute : step.attributes)
      *node.add_attribute() = put_attribute(attribute, false);
    if (step.output == "turned") refer(node, "perm", own("perm"), AttributeKind::kInts);
    if (step.op == "EyeLike") refer(node, "k", own("diagonal_at"), AttributeKind::kInt);
    if (!last) continue;
    pb::NodeProto& cast = add_node(function, "Cast", input);
    cast.add_input(own("f32"));
    refer(cast, "to", own("type"), AttributeKind::kInt);
  }
}

std::vector<float> repeated(size_t count, float value) { return std::vector<float>(count, value); }

void set_default(Node& node, const char* name, Attribute::Value value) {
  if (find_attribute(node, name) == nullptr) set_attribute(node, name, std::move(value));
}

void write_out_conv(Node& node, const Shape& shape) {
  const size_t axes = shape.size() < 2 ? 0 : shape.size() - 2;
  set_default(node, "auto_pad", std::string("NOTSET"));
  set_default(node, "dilations", std::vector<int64_t>(axes, 1));
  set_default(node, "group", int64_t{1});
  set_default(node, "kernel_shape", std::vector<int64_t>(shape.end() - axes, shape.end()));
  if (string_attribute(node, "auto_pad", "NOTSET") == "NOTSET")
    set_default(node, "pads", std::vector<int64_t>(2 * axes, 0));
  set_default(node, "strides", std::vector<int64_t>(axes, 1));
}

std::string activation_names(const Node& node) {
  return fmt::format("{}", fmt::join(strings_attribute(node, "activations", {}), ","));
}

void write_out_recurrent(Node& node, const Shape& shape, int64_t opset) {
  static const std::map<std::string_view, std::vector<std::string>> kActivations{
      {"GRU", {"Sigmoid", "Tanh"}}, {"LSTM", {"Sigmoid", "Tanh", "Tanh"}}, {"RNN", {"Tanh"}}};
  static const std::map<std::string_view, int64_t> kGates{{"GRU", 3}, {"LSTM", 4}, {"RNN", 1}};
  std::vector<std::string> activations;
  const bool both = string_attribute(node, "direction", "forward") == "bidirectional";
  for (int i = 0; i < (both ? 2 : 1); ++i) {
    const auto& own = kActivations.at(node.op);
    activations.insert(activations.end(), own.begin(), own.end());
  }
  set_default(node, "activations", activations);
  set_default(node, "direction", std::string("forward"));
  if (shape.size() == 3) set_default(node, "hidden_size", shape[1] / kGates.at(node.op));
  if (opset >= kOpsetWithLayout) set_default(node, "layout", int64_t{0});
  if (node.op == "GRU") set_default(node, "linear_before_reset", int64_t{0});
  if (node.op == "LSTM") set_default(node, "input_forget", int64_t{0});
  set_attribute(node, std::string(kActivationNames), activation_names(node));
}

// One weight of a call.
class WeightReader {
 public:
  WeightReader(const Node& call, std::string_view input) : call_(call), input_(input) {}

  std::optional<OperatorCall::PackedWeight> read(DecodeParts parts) {
    const Attribute* at = attribute("diagonal_at");
    const Attribute* perm = attribute("perm");
    const Attribute* type = attribute("type");
    const Attribute* name = attribute("name");
    if (at == nullptr || perm == nullptr || type == nullptr || name == nullptr) return std::nullopt;
    const auto* diagonal_at = std::get_if<int64_t>(&at->value);
    const auto* axes = std::get_if<std::vector<int64_t>>(&perm->value);
    const auto* number = std::get_if<int64_t>(&type->value);
    const auto* text = std::get_if<std::string>(&name->value);
    if (diagonal_at == nullptr || axes == nullptr || number == nullptr || text == nullptr)
      return std::nullopt;
    try {
      return OperatorCall::PackedWeight{*text, matrix(parts, *diagonal_at, *axes, *number)};
    } catch (Error& error) {
      error.add_context(fmt::format("packed weight {}", printable(*text)));
      throw;
    }
  }

 private:
  const Attribute* attribute(std::string_view part) const {
    return find_attribute(call_, part_name(input_, part));
  }

  SparseMatrix matrix(DecodeParts& parts, int64_t diagonal_at, const std::vector<int64_t>& axes,
                      int64_t type) const {
    DecodeForm form = longest_form(parts.at("values").dtype(), DType::kF32);
    form.weight = type < 0 || type > INT32_MAX ? DType::kUnknown
                                               : dtype_from_onnx(static_cast<int32_t>(type));
    expect(form.weight == DType::kF32 || form.weight == DType::kF16 || form.weight == DType::kBF16,
           "type", "expected that of f32, f16 or bf16");
    form.transposed = axes == std::vector<int64_t>{0, 2, 1};
    expect(form.transposed || axes == std::vector<int64_t>{0, 1, 2}, "perm",
           "expected [0, 1, 2] or [0, 2, 1]");
    form.diagonal = diagonal_at == 0;
    const auto extent = parts.at("extent").dtype() == DType::kI64 ? to_i64(parts.at("extent"))
                                                                  : std::vector<int64_t>{};
    expect(form.diagonal || (extent.size() == 2 && diagonal_at == extent[1]), "diagonal_at",
           "expected 0, or the columns of the matrix where there is no diagonal");
    expect(form.scaled() || same_bits(parts.at("scale"), operator_one()), "scale",
           "expected 1 for values of that type");
    if (form.diagonal) {
      expect(parts.at("diagonal").dtype() == form.diagonal_type(), "diagonal",
             "expected the type of the values, or of the weight beside i8");
    }
    return matrix_from_parts(form, parts);
  }

  static Tensor operator_one() {
    Tensor one = Tensor::zeros(DType::kF32, {1, 1, 1});
    one.mutable_data<float>()[0] = 1;
    return one;
  }

  void expect(bool holds, std::string_view part, std::string_view what) const {
    if (!holds) throw Error(Fault::kFormat, fmt::format("{}: {}", part_name(input_, part), what));
  }

  const Node& call_;
  std::string_view input_;
};

}  // namespace

bool OperatorForm::is_packed(size_t input) const {
  return std::ranges::find(packed, input) != packed.end();
}

std::span<const OperatorForm> operator_forms() {
  static const std::vector<OperatorForm> kForms{
      {"MatMul", "BlockSparseMatMul", {1}},    {"MatMul", "BlockSparseMatMulLeft", {0}},
      {"Gemm", "BlockSparseGemm", {1}},        {"Conv", "BlockSparseConv", {1}},
      {"GRU", "BlockSparseGRU", {1, 2}},       {"GRU", "BlockSparseGRUInput", {1}},
      {"GRU", "BlockSparseGRURecurrent", {2}}, {"LSTM", "BlockSparseLSTM", {1, 2}},
      {"LSTM", "BlockSparseLSTMInput", {1}},   {"LSTM", "BlockSparseLSTMRecurrent", {2}},
      {"RNN", "BlockSparseRNN", {1, 2}},       {"RNN", "BlockSparseRNNInput", {1}},
      {"RNN", "BlockSparseRNNRecurrent", {2}}};
  return kForms;
}

const OperatorForm* operator_form(const Node& node, std::span<const size_t> packed) {
  if (!node.domain.empty() && node.domain != "ai.onnx") return nullptr;
  if (int_attribute(node, "input_forget", 0) != 0) return nullptr;
  const auto found = std::ranges::find_if(operator_forms(), [&](const OperatorForm& form) {
    return form.op == node.op && std::ranges::equal(form.packed, packed);
  });
  if (found == operator_forms().end()) return nullptr;
  const OperatorSignature& known = operator_signature(found->op);
  const bool fits = std::ranges::all_of(node.attributes, [&](const Attribute& attribute) {
    return std::ranges::any_of(known.attributes,
                               [&](const auto& own) { return own.first == attribute.name; });
  });
  return fits && node.inputs.size() <= known.inputs.size() &&
                 node.outputs.size() <= known.outputs.size()
             ? &*found
             : nullptr;
}

const OperatorForm* find_operator_form(std::string_view function) {
  const auto found = std::ranges::find(operator_forms(), function, &OperatorForm::name);
  return found == operator_forms().end() ? nullptr : &*found;
}

std::span<const std::string_view> operator_inputs(const OperatorForm& form) {
  return operator_signature(form.op).inputs;
}

// Inputs, decodes, the operator: see the header.
pb::FunctionProto operator_function(const OperatorForm& form, int64_t opset) {
  const OperatorSignature& known = operator_signature(form.op);
  pb::FunctionProto function;
  function.set_name(std::string(form.name));
  function.set_domain(std::string(kDecodeDomain));
  function.set_doc_string(fmt::format("Unpacks the kept blocks of weights for {}.", form.op));
  for (size_t i = 0; i < known.inputs.size(); ++i) {
    const std::string input(known.inputs[i]);
    if (!form.is_packed(i)) {
      function.add_input(input);
      continue;
    }
    for (const std::string_view part : kOperatorParts) function.add_input(part_name(input, part));
    for (const auto& [name, kind] : weight_attributes())
      function.add_attribute(part_name(input, name));
    add_decode(function, input);
  }
  pb::NodeProto& node = *function.add_node();
  node.set_op_type(std::string(form.op));
  for (const std::string_view input : known.inputs) node.add_input(std::string(input));
  for (const std::string_view output : known.outputs) {
    function.add_output(std::string(output));
    node.add_output(std::string(output));
  }
  for (const auto& [name, kind] : known.attributes) {
    if (name == "layout" && opset < kOpsetWithLayout) continue;
    function.add_attribute(std::string(name));
    if (name == "activations") function.add_attribute(std::string(kActivationNames));
    refer(node, std::string(name), std::string(name), kind);
  }
  pb::OperatorSetIdProto& import = *function.add_opset_import();
  import.set_domain("");
  import.set_version(opset);
  return function;
}

OperatorWeight operator_weight(const SparseMatrix& matrix, std::string_view input,
                               const std::string& name) {
  DecodeForm form = decode_form(matrix, "grid");
  form.ragged = true, form.parts = form.once = false;
  form.lines = 0;
  DecodeParts parts = decode_parts(matrix, form);
  if (!form.scaled()) parts["scale"] = Tensor::of<float>({1, 1, 1}, repeated(1, 1));
  if (!form.diagonal) parts["diagonal"] = Tensor::zeros(DType::kF32, {1, 1, 1});
  OperatorWeight result;
  for (const std::string_view part : kOperatorParts)
    result.parts.push_back(std::move(parts.at(std::string(part))));
  const auto add = [&](std::string_view attribute, Attribute::Value value) {
    result.attributes.push_back({part_name(input, attribute), std::move(value), {}});
  };
  add("diagonal_at", form.diagonal ? int64_t{0} : static_cast<int64_t>(matrix.fold.cols));
  add("perm", form.transposed ? std::vector<int64_t>{0, 2, 1} : std::vector<int64_t>{0, 1, 2});
  add("type", static_cast<int64_t>(onnx_from_dtype(matrix.dtype)));
  add("name", name);
  return result;
}

void write_out_defaults(Node& node, const Shape& shape, int64_t opset) {
  if (node.op == "MatMul") return;
  if (node.op == "Conv") return write_out_conv(node, shape);
  if (node.op != "Gemm") return write_out_recurrent(node, shape, opset);
  set_default(node, "alpha", 1.0F);
  set_default(node, "beta", 1.0F);
  set_default(node, "transA", int64_t{0});
  set_default(node, "transB", int64_t{0});
}

std::optional<OperatorCall> operator_call(const Node& call, const OperatorForm& form,
                                          const std::function<const Tensor*(ValueId)>& constant) {
  const auto inputs = operator_inputs(form);
  OperatorCall result{call, {}};
  result.node.op = form.op;
  result.node.domain.clear();
  result.node.inputs.clear();
  while (result.node.outputs.size() > 1 && result.node.outputs.back() == kNoValue)
    result.node.outputs.pop_back();
  size_t next = 0;
  for (size_t i = 0; i < inputs.size() && next < call.inputs.size(); ++i) {
    if (!form.is_packed(i)) {
      result.node.inputs.push_back(call.inputs[next++]);
      continue;
    }
    DecodeParts parts;
    for (const std::string_view part : kOperatorParts) {
      const Tensor* tensor = next < call.inputs.size() ? constant(call.inputs[next]) : nullptr;
      if (tensor == nullptr) return std::nullopt;
      parts.emplace(part, *tensor);
      ++next;
    }
    auto weight = WeightReader(call, inputs[i]).read(std::move(parts));
    if (!weight) return std::nullopt;
    result.weights.push_back(std::move(*weight));
    std::erase_if(result.node.attributes, [&](const Attribute& attribute) {
      return std::ranges::any_of(weight_attributes(), [&](const auto& own) {
        return attribute.name == part_name(inputs[i], own.first);
      });
    });
  }
  if (next != call.inputs.size() || result.weights.size() != form.packed.size())
    return std::nullopt;
  if (is_recurrent(form.op)) {
    if (string_attribute(call, kActivationNames, "") != activation_names(call)) return std::nullopt;
    std::erase_if(result.node.attributes,
                  [](const Attribute& attribute) { return attribute.name == kActivationNames; });
  }
  return result;
}

int64_t operator_opset(const SparseMatrix& matrix) {
  return decode_opset(decode_form(matrix, "grid"));
}

}  // namespace espalier
