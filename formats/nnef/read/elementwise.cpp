// Operators that work element by element; NNEF aligns shapes at the front.
#include <array>
#include <cmath>
#include <limits>

#include "formats/nnef/read/call.h"
#include "formats/nnef/read/data_type.h"
#include "formats/nnef/read/packed_arithmetic.h"
#include "lib/base/checked_math.h"

namespace espalier::nnef {
namespace {

EvalValue tensor(TensorRef value) { return EvalValue::of_tensor(std::move(value)); }

// The operands of `names`; a literal takes the type of an operand that is none.
std::vector<TensorRef> operands(const Call& call, std::initializer_list<std::string_view> names) {
  DType like = DType::kUnknown;
  for (const std::string_view name : names) {
    if (!call.is_literal(name)) like = call.graph.dtype(call.tensor(name));
  }
  const bool numeric = like != DType::kBool;
  std::vector<TensorRef> result;
  for (const std::string_view name : names) {
    result.push_back(call.tensor(name, numeric ? like : DType::kUnknown));
  }
  return result;
}

TensorRef elementwise(const Call& call, std::string op, std::vector<TensorRef> inputs,
                      DType dtype = DType::kUnknown) {
  align_ranks(call, inputs);
  if (dtype == DType::kUnknown) dtype = call.graph.dtype(inputs[0]);
  std::optional<Shape> shape = broadcast_shape(call.graph, inputs);
  return call.graph.node(std::move(op), inputs, {dtype, std::move(shape)});
}

// Arithmetic of integers that are known (extents out of a shape_of); nothing for all else, and
// where the result passes 64 bits.
std::optional<EvalValue> known_integers(std::string_view op, const std::vector<TensorRef>& inputs) {
  std::vector<std::vector<int64_t>> values;
  for (const TensorRef& input : inputs) {
    const Tensor* dense = input.constant == nullptr ? nullptr : input.constant->dense();
    const bool fits = dense != nullptr && dense->dtype() == DType::kI64 &&
                      dense->shape() == inputs[0].constant->shape;
    if (!fits || dense->count() > 8) return std::nullopt;
    values.push_back(to_i64(*dense));
  }
  std::vector<int64_t> result;
  for (size_t i = 0; i < values[0].size(); ++i) {
    const int64_t a = values[0][i], b = values[1][i];
    std::optional<int64_t> one;
    if (op == "Add") one = checked_add(a, b);
    if (op == "Sub") one = checked_sub(a, b);
    if (op == "Mul") one = checked_mul(a, b);
    if (op == "Div" && a >= 0 && b > 0) one = a / b;
    if (!one) return std::nullopt;
    result.push_back(*one);
  }
  return tensor({kNoValue, make_constant("integers",
                                         Tensor::of<int64_t>(inputs[0].constant->shape, result))});
}

template <const char* op>
EvalValue unary(const Call& call) {
  return tensor(elementwise(call, op, {call.tensor("x", DType::kF32)}));
}

template <const char* op>
EvalValue binary(const Call& call) {
  const std::vector<TensorRef> inputs = operands(call, {"x", "y"});
  if (auto known = known_integers(op, inputs)) return *std::move(known);
  return tensor(elementwise(call, op, inputs));
}

template <const char* op>
EvalValue comparison(const Call& call) {
  return tensor(elementwise(call, op, operands(call, {"x", "y"}), DType::kBool));
}

EvalValue add(const Call& call) {
  const std::vector<TensorRef> inputs = operands(call, {"x", "y"});
  if (auto packed = add_packed(inputs[0], inputs[1])) return *std::move(packed);
  if (auto known = known_integers("Add", inputs)) return *std::move(known);
  return tensor(elementwise(call, "Add", inputs));
}

EvalValue mul(const Call& call) {
  const std::vector<TensorRef> inputs = operands(call, {"x", "y"});
  if (auto packed = scale_packed(inputs[0], inputs[1])) return *std::move(packed);
  if (auto known = known_integers("Mul", inputs)) return *std::move(known);
  for (const size_t mask : {size_t{1}, size_t{0}}) {
    if (auto masked = mask_constant(inputs[mask], inputs[1 - mask])) return *std::move(masked);
  }
  return tensor(elementwise(call, "Mul", inputs));
}

bool is_single_zero(const TensorRef& tensor) {
  return tensor.constant != nullptr && tensor.constant->dense() != nullptr &&
         tensor.constant->dense()->count() == 1 && is_zero(*tensor.constant);
}

// tract writes relu as max with a zero of the same rank.
EvalValue max(const Call& call) {
  const std::vector<TensorRef> inputs = operands(call, {"x", "y"});
  for (size_t i = 0; i < 2; ++i) {
    const TensorRef& other = inputs[1 - i];
    const std::optional<size_t> rank = call.graph.rank(other);
    const bool same_rank = rank && is_single_zero(inputs[i]) && call.graph.rank(inputs[i]) <= *rank;
    if (same_rank) {
      return tensor(
          call.graph.node("Relu", {other}, {call.graph.dtype(other), call.graph.shape(other)}));
    }
  }
  return tensor(elementwise(call, "Max", inputs));
}

EvalValue not_equal(const Call& call) {
  const TensorRef equal = elementwise(call, "Equal", operands(call, {"x", "y"}), DType::kBool);
  return tensor(elementwise(call, "Not", {equal}));
}

EvalValue square(const Call& call) {
  const TensorRef x = call.tensor("x", DType::kF32);
  return tensor(elementwise(call, "Mul", {x, x}));
}

// To nearest, halves away from zero; ONNX's Round goes to even.
EvalValue round(const Call& call) {
  const TensorRef x = call.tensor("x", DType::kF32);
  const ConstantPtr half = literal_constant(EvalValue::of_scalar(0.5), call.graph.dtype(x));
  if (half == nullptr) throw NotTranslated{};
  const TensorRef magnitude = elementwise(call, "Abs", {x});
  const TensorRef raised = elementwise(call, "Add", {magnitude, {kNoValue, half}});
  const TensorRef whole = elementwise(call, "Floor", {raised});
  return tensor(elementwise(call, "Mul", {elementwise(call, "Sign", {x}), whole}));
}

EvalValue select(const Call& call) {
  const TensorRef condition = call.tensor("condition", DType::kBool);
  std::vector<TensorRef> inputs = operands(call, {"true_value", "false_value"});
  const EvalValue& otherwise = call.argument("false_value");
  if (otherwise.is_number() && otherwise.number() == 0) {
    if (auto masked = mask_constant(condition, inputs[0])) return *std::move(masked);
  }
  const DType dtype = call.graph.dtype(inputs[0]);
  inputs.insert(inputs.begin(), condition);
  return tensor(elementwise(call, "Where", inputs, dtype));
}

EvalValue clamp(const Call& call) {
  const TensorRef x = call.tensor("x", DType::kF32);
  const DType dtype = call.graph.dtype(x);
  std::vector<TensorRef> inputs = {x};
  for (const std::string_view name : {"a", "b"}) {
    const TensorRef bound = call.tensor(name, dtype);
    const bool single = bound.constant != nullptr && bound.constant->dense() != nullptr &&
                        bound.constant->dense()->count() == 1 && bound.constant->dtype() == dtype;
    if (!single) throw NotTranslated{};
    inputs.push_back({kNoValue, reshaped(bound.constant, {})});
  }
  return tensor(call.graph.node("Clip", inputs, {dtype, call.graph.shape(x)}));
}

EvalValue activation(const Call& call, std::string op, std::vector<Attribute> attributes) {
  const TensorRef x = call.tensor("x", DType::kF32);
  return tensor(call.graph.node(std::move(op), {x}, {call.graph.dtype(x), call.graph.shape(x)},
                                std::move(attributes)));
}

EvalValue elu(const Call& call) {
  return activation(call, "Elu", {attribute("alpha", static_cast<float>(call.scalar("alpha")))});
}

EvalValue selu(const Call& call) {
  return activation(call, "Selu",
                    {attribute("alpha", static_cast<float>(call.scalar("alpha"))),
                     attribute("gamma", static_cast<float>(call.scalar("lambda")))});
}

EvalValue leaky_relu(const Call& call) {
  return activation(call, "LeakyRelu",
                    {attribute("alpha", static_cast<float>(call.scalar("alpha")))});
}

EvalValue softmax(const Call& call) {
  const TensorRef x = call.tensor("x", DType::kF32);
  const std::vector<int64_t> axes = call.integers("axes");
  if (axes.size() != 1) throw NotTranslated{};
  if (const std::optional<size_t> rank = call.graph.rank(x)) call.axis(axes[0], *rank);
  return tensor(call.graph.node("Softmax", {x}, {call.graph.dtype(x), call.graph.shape(x)},
                                {attribute("axis", axes[0])}));
}

EvalValue prelu(const Call& call) {
  std::vector<TensorRef> inputs = operands(call, {"x", "alpha"});
  const std::optional<size_t> rank = call.graph.rank(inputs[0]);
  if (!rank || call.graph.rank(inputs[1]).value_or(9) > *rank) throw NotTranslated{};
  return tensor(elementwise(call, "PRelu", std::move(inputs)));
}

EvalValue add_n(const Call& call) {
  const std::vector<TensorRef> inputs = call.tensors("x");
  if (inputs.empty()) throw NotTranslated{};
  if (inputs.size() == 1) return tensor(inputs[0]);
  return tensor(elementwise(call, "Sum", inputs));
}

EvalValue copy(const Call& call) { return call.argument("x"); }

EvalValue cast_to(const Call& call, const TensorRef& input, DType dtype) {
  if (call.graph.dtype(input) == dtype) return tensor(input);
  if (input.constant != nullptr) {
    if (ConstantPtr wide = widened(input.constant, dtype)) return tensor({kNoValue, wide});
  }
  return tensor(call.graph.node("Cast", {input}, {dtype, call.graph.shape(input)},
                                {attribute("to", onnx_type(dtype))}));
}

EvalValue cast(const Call& call) {
  DType dtype = DType::kUnknown;
  if (call.generic == "scalar") dtype = DType::kF32;
  if (call.generic == "integer") dtype = DType::kI64;
  if (call.generic == "logical") dtype = DType::kBool;
  if (dtype == DType::kUnknown) call.fail("the type to cast to is missing");
  if (call.is_literal("input")) return tensor(call.tensor("input", dtype));
  return cast_to(call, call.tensor("input"), dtype);
}

EvalValue tract_cast(const Call& call) {
  const std::string& to = call.text("to");
  // The type of the result is what graph.quant says of it.
  if (to.empty() && !call.reading.document.quantization.empty())
    return tensor(call.tensor("input"));
  if (to.empty()) call.fail("the type to cast to is missing");
  const DType dtype = tract_type(call, to);
  if (call.is_literal("input")) return tensor(call.tensor("input", dtype));
  return cast_to(call, call.tensor("input"), dtype);
}

#define ESPALIER_NNEF_NAME(op) constexpr char k##op[] = #op
ESPALIER_NNEF_NAME(Sub);
ESPALIER_NNEF_NAME(Div);
ESPALIER_NNEF_NAME(Pow);
ESPALIER_NNEF_NAME(Min);
ESPALIER_NNEF_NAME(Less);
ESPALIER_NNEF_NAME(Greater);
ESPALIER_NNEF_NAME(LessOrEqual);
ESPALIER_NNEF_NAME(GreaterOrEqual);
ESPALIER_NNEF_NAME(Equal);
ESPALIER_NNEF_NAME(And);
ESPALIER_NNEF_NAME(Or);
ESPALIER_NNEF_NAME(Xor);
ESPALIER_NNEF_NAME(Not);
ESPALIER_NNEF_NAME(Exp);
ESPALIER_NNEF_NAME(Log);
ESPALIER_NNEF_NAME(Sin);
ESPALIER_NNEF_NAME(Cos);
ESPALIER_NNEF_NAME(Tan);
ESPALIER_NNEF_NAME(Sinh);
ESPALIER_NNEF_NAME(Cosh);
ESPALIER_NNEF_NAME(Tanh);
ESPALIER_NNEF_NAME(Asin);
ESPALIER_NNEF_NAME(Acos);
ESPALIER_NNEF_NAME(Atan);
ESPALIER_NNEF_NAME(Asinh);
ESPALIER_NNEF_NAME(Acosh);
ESPALIER_NNEF_NAME(Atanh);
ESPALIER_NNEF_NAME(Abs);
ESPALIER_NNEF_NAME(Sign);
ESPALIER_NNEF_NAME(Reciprocal);
ESPALIER_NNEF_NAME(Neg);
ESPALIER_NNEF_NAME(Floor);
ESPALIER_NNEF_NAME(Ceil);
ESPALIER_NNEF_NAME(Sqrt);
ESPALIER_NNEF_NAME(Relu);
ESPALIER_NNEF_NAME(Sigmoid);
ESPALIER_NNEF_NAME(Softplus);
ESPALIER_NNEF_NAME(Round);
ESPALIER_NNEF_NAME(Erf);
ESPALIER_NNEF_NAME(HardSwish);
#undef ESPALIER_NNEF_NAME

constexpr std::array kTranslators = {
    Translator{"add", add, "Add"},
    Translator{"sub", binary<kSub>, "Sub"},
    Translator{"mul", mul, "Mul"},
    Translator{"div", binary<kDiv>, "Div"},
    Translator{"pow", binary<kPow>, "Pow"},
    Translator{"min", binary<kMin>, "Min"},
    Translator{"max", max, "Max Relu"},
    Translator{"lt", comparison<kLess>, "Less"},
    Translator{"gt", comparison<kGreater>, "Greater"},
    Translator{"le", comparison<kLessOrEqual>, "LessOrEqual"},
    Translator{"ge", comparison<kGreaterOrEqual>, "GreaterOrEqual"},
    Translator{"eq", comparison<kEqual>, "Equal"},
    Translator{"ne", not_equal, "Equal Not"},
    Translator{"and", binary<kAnd>, "And"},
    Translator{"or", binary<kOr>, "Or"},
    Translator{"tract_core_xor", binary<kXor>, "Xor"},
    Translator{"not", unary<kNot>, "Not"},
    Translator{"exp", unary<kExp>, "Exp"},
    Translator{"log", unary<kLog>, "Log"},
    Translator{"sin", unary<kSin>, "Sin"},
    Translator{"cos", unary<kCos>, "Cos"},
    Translator{"tan", unary<kTan>, "Tan"},
    Translator{"sinh", unary<kSinh>, "Sinh"},
    Translator{"cosh", unary<kCosh>, "Cosh"},
    Translator{"tanh", unary<kTanh>, "Tanh"},
    Translator{"asin", unary<kAsin>, "Asin"},
    Translator{"acos", unary<kAcos>, "Acos"},
    Translator{"atan", unary<kAtan>, "Atan"},
    Translator{"asinh", unary<kAsinh>, "Asinh"},
    Translator{"acosh", unary<kAcosh>, "Acosh"},
    Translator{"atanh", unary<kAtanh>, "Atanh"},
    Translator{"abs", unary<kAbs>, "Abs"},
    Translator{"sign", unary<kSign>, "Sign"},
    Translator{"rcp", unary<kReciprocal>, "Reciprocal"},
    Translator{"recip", unary<kReciprocal>, "Reciprocal"},
    Translator{"neg", unary<kNeg>, "Neg"},
    Translator{"floor", unary<kFloor>, "Floor"},
    Translator{"ceil", unary<kCeil>, "Ceil"},
    Translator{"round", round, "Abs Add Floor Sign Mul"},
    Translator{"tract_core_round_even", unary<kRound>, "Round"},
    Translator{"sqr", square, "Mul"},
    Translator{"square", square, "Mul"},
    Translator{"sqrt", unary<kSqrt>, "Sqrt"},
    Translator{"relu", unary<kRelu>, "Relu"},
    Translator{"sigmoid", unary<kSigmoid>, "Sigmoid"},
    Translator{"softplus", unary<kSoftplus>, "Softplus"},
    Translator{"tract_core_erf", unary<kErf>, "Erf"},
    Translator{"tract_core_hard_swish", unary<kHardSwish>, "HardSwish"},
    Translator{"elu", elu, "Elu"},
    Translator{"selu", selu, "Selu"},
    Translator{"leaky_relu", leaky_relu, "LeakyRelu"},
    Translator{"prelu", prelu, "PRelu"},
    Translator{"clamp", clamp, "Clip"},
    Translator{"select", select, "Where"},
    Translator{"softmax", softmax, "Softmax"},
    Translator{"tract_core_softmax", softmax, "Softmax"},
    Translator{"add_n", add_n, "Sum"},
    Translator{"copy", copy, "Identity"},
    Translator{"cast", cast, "Cast"},
    Translator{"tract_core_cast", tract_cast, "Cast"},
};

}  // namespace

std::span<const Translator> elementwise_translators() { return kTranslators; }

}  // namespace espalier::nnef
