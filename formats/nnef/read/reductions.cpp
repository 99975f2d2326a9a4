// Reductions keep their axes with extent 1.
#include <array>

#include "formats/nnef/read/call.h"
#include "formats/nnef/read/data_type.h"

namespace espalier::nnef {
namespace {

// The axes and what is left of the input; an unknown rank stays unknown.
struct Reduced {
  TensorRef input;
  std::vector<int64_t> axes;
  std::optional<Shape> shape;
};

Reduced reduced(const Call& call) {
  Reduced result{call.tensor("input", DType::kF32), call.integers("axes"), {}};
  result.shape = call.graph.shape(result.input);
  if (!result.shape) return result;
  for (const int64_t axis : call.axes("axes", result.shape->size())) {
    (*result.shape)[static_cast<size_t>(axis)] = 1;
  }
  return result;
}

// ReduceSum takes its axes as an input from opset 13 on, the others from 18 on.
EvalValue reduce(const Call& call, std::string op) {
  const Reduced r = reduced(call);
  if (r.axes.empty()) return EvalValue::of_tensor(r.input);
  std::vector<TensorRef> inputs = {r.input};
  std::vector<Attribute> attributes;
  if (op == "ReduceSum") {
    inputs.push_back(call.graph.integers("axes", r.axes));
  } else {
    attributes.push_back(attribute("axes", r.axes));
  }
  attributes.push_back(attribute("keepdims", int64_t{1}));
  return EvalValue::of_tensor(call.graph.node(
      std::move(op), inputs, {call.graph.dtype(r.input), r.shape}, std::move(attributes)));
}

EvalValue sum(const Call& call) {
  return reduce(call, call.logical("normalize") ? "ReduceMean" : "ReduceSum");
}
EvalValue mean(const Call& call) { return reduce(call, "ReduceMean"); }
EvalValue max(const Call& call) { return reduce(call, "ReduceMax"); }
EvalValue min(const Call& call) { return reduce(call, "ReduceMin"); }
EvalValue product(const Call& call) { return reduce(call, "ReduceProd"); }

// By way of floats: ONNX reduces logicals from opset 20 on only.
EvalValue logical(const Call& call, std::string op) {
  const Reduced r = reduced(call);
  if (r.axes.empty()) return EvalValue::of_tensor(r.input);
  const TensorRef numbers =
      call.graph.node("Cast", {r.input}, {DType::kF32, call.graph.shape(r.input)},
                      {attribute("to", onnx_type(DType::kF32))});
  const TensorRef result =
      call.graph.node(std::move(op), {numbers}, {DType::kF32, r.shape},
                      {attribute("axes", r.axes), attribute("keepdims", int64_t{1})});
  return EvalValue::of_tensor(call.graph.node("Cast", {result}, {DType::kBool, r.shape},
                                              {attribute("to", onnx_type(DType::kBool))}));
}

EvalValue any(const Call& call) { return logical(call, "ReduceMax"); }
EvalValue all(const Call& call) { return logical(call, "ReduceMin"); }

EvalValue find(const Call& call, std::string op, bool last) {
  const Reduced r = reduced(call);
  if (r.axes.size() != 1) throw NotTranslated{};
  std::vector<Attribute> attributes = {attribute("axis", r.axes[0]),
                                       attribute("keepdims", int64_t{1})};
  if (last) attributes.push_back(attribute("select_last_index", int64_t{1}));
  return EvalValue::of_tensor(
      call.graph.node(std::move(op), {r.input}, {DType::kI64, r.shape}, std::move(attributes)));
}

EvalValue argmax(const Call& call) { return find(call, "ArgMax", false); }
EvalValue argmin(const Call& call) { return find(call, "ArgMin", false); }
EvalValue argmax_last(const Call& call) { return find(call, "ArgMax", true); }
EvalValue argmin_last(const Call& call) { return find(call, "ArgMin", true); }

constexpr std::array kTranslators = {
    Translator{"sum_reduce", sum, "ReduceSum ReduceMean"},
    Translator{"mean_reduce", mean, "ReduceMean"},
    Translator{"max_reduce", max, "ReduceMax"},
    Translator{"min_reduce", min, "ReduceMin"},
    Translator{"tract_core_product_reduce", product, "ReduceProd"},
    Translator{"any_reduce", any, "Cast ReduceMax"},
    Translator{"all_reduce", all, "Cast ReduceMin"},
    Translator{"argmax_reduce", argmax, "ArgMax"},
    Translator{"argmin_reduce", argmin, "ArgMin"},
    Translator{"tract_core_argmax_reduce_last", argmax_last, "ArgMax"},
    Translator{"tract_core_argmin_reduce_last", argmin_last, "ArgMin"},
};

}  // namespace

std::span<const Translator> reduction_translators() { return kTranslators; }

}  // namespace espalier::nnef
