// Operators of tract's registries that ONNX has under its own name. Those that are a formula have a
// body in standard_operators.cpp instead.
#include <fmt/format.h>

#include <array>
#include <limits>

#include "formats/nnef/call.h"
#include "formats/nnef/data_type.h"

namespace espalier::nnef {
namespace {

EvalValue tensor(TensorRef value) { return EvalValue::of_tensor(std::move(value)); }

TensorRef as_i64(const Call& call, const TensorRef& input) {
  if (call.graph.dtype(input) == DType::kI64) return input;
  return call.graph.node("Cast", {input}, {DType::kI64, call.graph.shape(input)},
                         {attribute("to", onnx_type(DType::kI64))});
}

EvalValue is_nan(const Call& call) {
  const TensorRef x = call.tensor("x", DType::kF32);
  return tensor(call.graph.node("IsNaN", {x}, {DType::kBool, call.graph.shape(x)}));
}

EvalValue is_inf(const Call& call) {
  const TensorRef x = call.tensor("input", DType::kF32);
  return tensor(
      call.graph.node("IsInf", {x}, {DType::kBool, call.graph.shape(x)},
                      {attribute("detect_positive", int64_t{call.logical("detect_positive")}),
                       attribute("detect_negative", int64_t{call.logical("detect_negative")})}));
}

// Values and their places; equal values in the order of their places.
EvalValue topk(const Call& call) {
  const TensorRef x = call.tensor("input", DType::kF32);
  TensorRef k = as_i64(call, call.tensor("k", DType::kI64));
  const std::optional<Shape> k_shape = call.graph.shape(k);
  if (!k_shape || element_count(*k_shape) != 1) call.fail("k is no single integer");
  k = reshape(call.graph, k, {1});
  std::optional<Shape> shape = call.graph.shape(x);
  const int64_t axis = call.integer("axis");
  if (shape) {
    const ConstantPtr& known = k.constant;
    const bool is_known = known != nullptr && known->dense() != nullptr;
    (*shape)[call.axis(axis, shape->size())] = is_known ? to_i64(*known->dense())[0] : -1;
  }
  Node node;
  node.op = "TopK";
  node.attributes = {attribute("axis", axis),
                     attribute("largest", int64_t{call.logical("largest")})};
  std::vector<EvalValue> results;
  for (TensorRef& one : call.graph.node(std::move(node), {x, k},
                                        {{call.graph.dtype(x), shape}, {DType::kI64, shape}})) {
    results.push_back(tensor(std::move(one)));
  }
  return EvalValue::of_list(EvalValue::Kind::tuple, std::move(results), call.at);
}

EvalValue scatter_elements(const Call& call) {
  const TensorRef input = call.tensor("input");
  const DType dtype = call.graph.dtype(input);
  const std::string& reduction = call.text("reduction");
  std::vector<Attribute> attributes = {attribute("axis", call.integer("axis"))};
  if (reduction != "none") attributes.push_back(attribute("reduction", reduction));
  return tensor(call.graph.node(
      "ScatterElements",
      {input, as_i64(call, call.tensor("indices", DType::kI64)), call.tensor("updates", dtype)},
      {dtype, call.graph.shape(input)}, std::move(attributes)));
}

EvalValue trilu(const Call& call) {
  const TensorRef input = call.tensor("input", DType::kF32);
  const TensorRef k = reshape(call.graph, as_i64(call, call.tensor("k", DType::kI64)), {});
  return tensor(call.graph.node("Trilu", {input, k},
                                {call.graph.dtype(input), call.graph.shape(input)},
                                {attribute("upper", int64_t{call.logical("upper")})}));
}

// 1 (value_on) where a number of the input is the place along the new axis.
EvalValue one_hot(const Call& call) {
  const TensorRef input = as_i64(call, call.tensor("input", DType::kI64));
  Shape shape = call.shape(input);
  const int64_t axis = call.integer("axis"), dim = call.integer("dim");
  call.axis(axis, shape.size() + 1);
  if (dim < 1 || dim > (int64_t{1} << 31)) call.fail(fmt::format("dim is {}", dim));
  call.reading.budget.spend(static_cast<size_t>(dim));
  std::vector<int64_t> numbers;
  for (int64_t i = 0; i < dim; ++i) numbers.push_back(i);
  Shape places(shape.size() + 1, 1);
  places[static_cast<size_t>(axis)] = dim;
  shape.insert(shape.begin() + axis, 1);
  const TensorRef raised = call.graph.node(
      "Unsqueeze", {input, call.graph.integers("axes", {axis})}, {DType::kI64, shape});
  shape[static_cast<size_t>(axis)] = dim;
  const TensorRef line{kNoValue, make_constant("numbers", Tensor::of<int64_t>(places, numbers))};
  const TensorRef is_there = call.graph.node("Equal", {raised, line}, {DType::kBool, shape});
  const auto number = [&](std::string_view name) {
    const EvalValue value = EvalValue::of_scalar(call.scalar(name));
    return TensorRef{kNoValue, literal_constant(value, DType::kF32)};
  };
  return tensor(call.graph.node("Where", {is_there, number("value_on"), number("value_off")},
                                {DType::kF32, shape}));
}

// Softmax of scale * input under a mask along the last axis: an f32 one is added, a logical one
// leaves out what is false, and with post_softmax_mask makes it 0 where nothing is left.
EvalValue masked_softmax(const Call& call) {
  const TensorRef input = call.tensor("input", DType::kF32), mask = call.tensor("mask");
  const Shape shape = call.shape(input);
  const OutputInfo output{call.graph.dtype(input), shape};
  if (shape.empty() || call.rank(mask) != shape.size()) throw NotTranslated{};
  const auto number = [&](double value) {
    return TensorRef{kNoValue, literal_constant(EvalValue::of_scalar(value), output.dtype)};
  };
  const bool logical = call.graph.dtype(mask) == DType::kBool;
  TensorRef scores = call.graph.node("Mul", {input, number(call.scalar("scale"))}, output);
  scores = logical ? call.graph.node(
                         "Where", {mask, scores, number(-std::numeric_limits<double>::infinity())},
                         output)
                   : call.graph.node("Add", {scores, mask}, output);
  const TensorRef result = call.graph.node(
      "Softmax", {scores}, output, {attribute("axis", static_cast<int64_t>(shape.size()) - 1)});
  if (!logical || !call.logical("post_softmax_mask")) return tensor(result);
  return tensor(call.graph.node("Where", {mask, result, number(0)}, output));
}

constexpr std::array kTranslators = {
    Translator{"tract_core_is_nan", is_nan, "IsNaN"},
    Translator{"tract_core_is_inf", is_inf, "IsInf"},
    Translator{"tract_core_topk", topk, "TopK Cast Reshape"},
    Translator{"tract_core_scatter_elements", scatter_elements, "ScatterElements Cast"},
    Translator{"tract_core_trilu", trilu, "Trilu Cast Reshape"},
    Translator{"tract_core_one_hot", one_hot, "Where Equal Unsqueeze Cast"},
    Translator{"tract_transformers_scaled_masked_softmax", masked_softmax, "Softmax Mul Add Where"},
};

}  // namespace

std::span<const Translator> tract_translators() { return kTranslators; }

}  // namespace espalier::nnef
