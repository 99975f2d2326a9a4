// Operators of tract's registries that ONNX has under its own name. Those that are a formula have a
// body in standard_operators.cpp instead.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "formats/nnef/read/call.h"
#include "formats/nnef/read/data_type.h"
#include "lib/base/checked_math.h"

namespace espalier::nnef {
namespace {

EvalValue tensor(TensorRef value) { return EvalValue::of_tensor(std::move(value)); }

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
  if (!k_shape || element_count(*k_shape) != 1) call.fail("k is not a single integer");
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

// The integers start, start + step, ... below end; each may be computed by the graph.
EvalValue range(const Call& call) {
  std::vector<TensorRef> inputs;
  std::array<std::optional<int64_t>, 3> known;
  DType dtype = DType::kI64;
  constexpr std::array<std::string_view, 3> kNames = {"start", "end", "step"};
  for (const std::string_view name : kNames) {
    const EvalValue& value = call.argument(name);
    if (value.kind == EvalValue::Kind::scalar) dtype = DType::kF32;
    if (value.kind == EvalValue::Kind::tensor) dtype = call.graph.dtype(value.tensor);
  }
  for (size_t i = 0; i < kNames.size(); ++i) {
    const EvalValue& value = call.argument(kNames[i]);
    if (value.kind == EvalValue::Kind::dimension) {
      const TensorRef one = extents_tensor(call, kNames[i], {{-1, value.text}});
      inputs.push_back(reshape(call.graph, one, {}));
      continue;
    }
    const TensorRef one = call.tensor(kNames[i], dtype);
    if (call.graph.dtype(one) != dtype) throw NotTranslated{};
    const Tensor* dense = one.constant == nullptr ? nullptr : one.constant->dense();
    if (dense != nullptr && dense->dtype() == DType::kI64 && dense->count() == 1) {
      known[i] = to_i64(*dense)[0];
    }
    inputs.push_back(call.graph.shape(one) == Shape{} ? one : reshape(call.graph, one, {}));
  }
  int64_t count = -1;
  if (known[0] && known[1] && known[2]) {
    if (*known[2] == 0) call.fail("step is 0");
    const __int128 span = __int128{*known[1]} - *known[0], step = *known[2];
    const __int128 steps = (span + step + (step > 0 ? -1 : 1)) / step;
    if (steps > INT32_MAX) call.fail("more than 2^31 integers");
    count = std::max<int64_t>(static_cast<int64_t>(steps), 0);
  }
  return tensor(call.graph.node("Range", inputs, {dtype, Shape{count}}));
}

EvalValue grid_sample(const Call& call) {
  const TensorRef input = call.tensor("input", DType::kF32),
                  grid = call.tensor("grid", DType::kF32);
  const Shape from = call.shape(input), places = call.shape(grid);
  if (from.size() < 3 || places.size() != from.size()) call.fail("input and grid differ in rank");
  Shape to = {from[0], from[1]};
  to.insert(to.end(), places.begin() + 1, places.end() - 1);
  return tensor(call.graph.node(
      "GridSample", {input, grid}, {call.graph.dtype(input), to},
      {attribute("mode", call.text("mode")), attribute("padding_mode", call.text("padding_mode")),
       attribute("align_corners", int64_t{call.logical("align_corners")})}));
}

// What bit by bit is one by one, of logicals; ONNX has the rest from opset 18 on.
template <const char* op>
EvalValue bits(const Call& call) {
  std::vector<TensorRef> inputs = {call.tensor("x")};
  if (call.declaration.parameters.size() > 1) inputs.push_back(call.tensor("y"));
  for (const TensorRef& input : inputs) {
    if (call.graph.dtype(input) != DType::kBool) throw NotTranslated{};
  }
  align_ranks(call, inputs);
  return tensor(call.graph.node(op, inputs, {DType::kBool, broadcast_shape(call.graph, inputs)}));
}

EvalValue lrn(const Call& call) {
  const TensorRef input = call.tensor("input", DType::kF32);
  return tensor(call.graph.node("LRN", {input}, {call.graph.dtype(input), call.graph.shape(input)},
                                {attribute("alpha", static_cast<float>(call.scalar("alpha"))),
                                 attribute("beta", static_cast<float>(call.scalar("beta"))),
                                 attribute("bias", static_cast<float>(call.scalar("bias"))),
                                 attribute("size", call.integer("size"))}));
}

// What keeps row m of `rows` from columns behind m + columns - rows: 0 and the lowest number.
TensorRef causal_mask(const Call& call, int64_t rows, int64_t columns) {
  const std::optional<size_t> count =
      checked_mul(static_cast<size_t>(rows), static_cast<size_t>(columns));
  call.reading.budget.spend(count.value_or(SIZE_MAX));
  std::vector<float> mask(*count, 0.0F);
  for (int64_t m = 0; m < rows; ++m) {
    for (int64_t n = std::max<int64_t>(0, m + columns - rows + 1); n < columns; ++n) {
      mask[static_cast<size_t>(m * columns + n)] = std::numeric_limits<float>::lowest();
    }
  }
  return {kNoValue, make_constant("causal", Tensor::of<float>({rows, columns}, mask))};
}

// softmax(scale q k^T + mask) v of heads [N, T, D] or [N, heads, T, D]; several heads of q may share
// one of k and v. Computed as f32, whatever the type of q.
EvalValue sdpa(const Call& call) {
  GraphBuilder& graph = call.graph;
  TensorRef q = call.tensor("q", DType::kF32), k = call.tensor("k", DType::kF32),
            v = call.tensor("v", DType::kF32);
  const DType dtype = graph.dtype(q);
  Shape q_shape = call.shape(q), k_shape = call.shape(k), v_shape = call.shape(v);
  const size_t rank = q_shape.size();
  const bool fits = (rank == 3 || rank == 4) && k_shape.size() == rank && v_shape.size() == rank;
  if (!fits) call.fail("q, k and v must have 3 or 4 axes");
  const bool is_causal = call.logical("is_causal"), has_mask = !call.is_literal("mask");
  const int64_t rows = q_shape[rank - 2], columns = k_shape[rank - 2], depth = k_shape[rank - 1];
  if (is_causal && (rows < 0 || columns < 0)) throw NotTranslated{};
  double scale = call.scalar("scale");
  if (scale == 0 && depth < 1) throw NotTranslated{};
  if (scale == 0) scale = 1 / std::sqrt(static_cast<double>(depth));
  // Heads of q that share one of k and v lie along an axis of their own.
  const Shape whole = q_shape;
  const bool grouped = rank == 4 && q_shape[1] != k_shape[1] && q_shape[1] > 0 && k_shape[1] > 0;
  if (grouped) {
    const int64_t heads = k_shape[1];
    const bool known = depth > 0 && v_shape.back() > 0;
    const Shape mask = has_mask ? call.shape(call.tensor("mask")) : Shape{};
    const bool one_mask = mask.size() < 4 || mask[1] == 1;
    if (!known || !one_mask || q_shape[1] % heads != 0 || v_shape[1] != heads) {
      throw NotTranslated{};
    }
    const int64_t group = q_shape[1] / heads;
    q_shape = {q_shape[0], heads, group, rows, q_shape[3]};
    q = graph.node("Reshape", {q, graph.integers("shape", {0, heads, group, -1, depth})},
                   {dtype, q_shape});
    for (auto [one, shape] : {std::pair{&k, &k_shape}, std::pair{&v, &v_shape}}) {
      shape->insert(shape->begin() + 2, 1);
      *one = graph.node("Unsqueeze", {*one, graph.integers("axes", {2})}, {dtype, *shape});
    }
  }
  const auto as_f32 = [&](const TensorRef& one) {
    if (graph.dtype(one) == DType::kF32) return one;
    return graph.node("Cast", {one}, {DType::kF32, graph.shape(one)},
                      {attribute("to", onnx_type(DType::kF32))});
  };
  Shape scores_shape = q_shape;
  scores_shape.back() = columns;
  const OutputInfo info{DType::kF32, scores_shape};
  const TensorRef turned = swap_last_axes(graph, as_f32(k), k_shape.size());
  TensorRef scores = graph.node("MatMul", {as_f32(q), turned}, info);
  const ConstantPtr factor = literal_constant(EvalValue::of_scalar(scale), DType::kF32);
  scores = graph.node("Mul", {scores, {kNoValue, factor}}, info);
  if (is_causal) scores = graph.node("Add", {scores, causal_mask(call, rows, columns)}, info);
  if (has_mask) {
    TensorRef mask = call.tensor("mask");
    const Shape shape = call.shape(mask);
    if (grouped && shape.size() == 4) {
      mask = graph.node("Unsqueeze", {mask, graph.integers("axes", {2})},
                        {graph.dtype(mask), Shape{shape[0], 1, 1, shape[2], shape[3]}});
    }
    scores = graph.node("Add", {scores, as_f32(mask)}, info);
  }
  const TensorRef weights =
      graph.node("Softmax", {scores}, info,
                 {attribute("axis", static_cast<int64_t>(scores_shape.size()) - 1)});
  Shape out_shape = q_shape;
  out_shape.back() = v_shape.back();
  TensorRef out = graph.node("MatMul", {weights, as_f32(v)}, {DType::kF32, out_shape});
  if (grouped) {
    Shape flat = whole;
    flat.back() = v_shape.back();
    out = graph.node("Reshape", {out, graph.integers("shape", {0, whole[1], -1, flat.back()})},
                     {DType::kF32, flat});
    out_shape = flat;
  }
  if (dtype == DType::kF32) return tensor(out);
  return tensor(graph.node("Cast", {out}, {dtype, out_shape}, {attribute("to", onnx_type(dtype))}));
}

constexpr char kAnd[] = "And", kOr[] = "Or", kXor[] = "Xor", kNot[] = "Not";

constexpr std::array kTranslators = {
    Translator{"tract_core_range", range, "Range Reshape"},
    Translator{"tract_core_grid_sample", grid_sample, "GridSample"},
    Translator{"tract_core_bitand", bits<kAnd>, "And"},
    Translator{"tract_core_bitor", bits<kOr>, "Or"},
    Translator{"tract_core_bitxor", bits<kXor>, "Xor"},
    Translator{"tract_core_bitnot", bits<kNot>, "Not"},
    Translator{"tract_onnx_lrn", lrn, "LRN"},
    Translator{"tract_transformers_sdpa", sdpa,
               "Softmax MatMul Mul Add Transpose Reshape Unsqueeze Cast"},
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
