// Operators that change the shape of a tensor: its elements keep their order, except for transpose
// and broadcasts.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "formats/nnef/read/call.h"
#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

EvalValue tensor(TensorRef value) { return EvalValue::of_tensor(std::move(value)); }

// The integers behind a constant input of a node (its axes).
std::optional<std::vector<int64_t>> constant_integers(const GraphBuilder& graph, const Node& node,
                                                      size_t input) {
  if (input >= node.inputs.size()) return std::nullopt;
  const TensorRef tensor = graph.tensor(node.inputs[input]);
  if (tensor.constant == nullptr || tensor.constant->dense() == nullptr) return std::nullopt;
  return to_i64(*tensor.constant->dense());
}

// The input of the node that made `tensor`, where that is `op` with the same axes: the two undo
// each other.
std::optional<TensorRef> undone(const GraphBuilder& graph, const TensorRef& tensor,
                                std::string_view op, const std::vector<int64_t>& axes) {
  const Node* producer = graph.producer(tensor);
  if (producer == nullptr || !producer->domain.empty() || producer->op != op) return std::nullopt;
  if (constant_integers(graph, *producer, 1) != axes) return std::nullopt;
  return graph.tensor(producer->inputs[0]);
}

// Axes axis_start to axis_start + axis_count become `shape`, in which 0 copies an extent and -1 is
// inferred. Where the input's shape is known, so is the result's; ONNX infers what is not.
EvalValue reshape(const Call& call) {
  const TensorRef input = call.tensor("input");
  const int64_t start = call.integer("axis_start"), given_count = call.integer("axis_count");
  const std::vector<Extent> target = call.extents("shape");
  const std::optional<Shape> from = call.graph.shape(input);
  if (start < 0 || given_count < -1) call.fail("axis_start or axis_count is negative");
  if (!from) {
    // A target that says everything needs no shape of the input.
    const bool whole =
        start == 0 && given_count == -1 && std::ranges::all_of(target, [](const Extent& extent) {
          return !extent.is_known() || extent.value > 0;
        });
    if (!whole) throw NotTranslated{};
    Shape to;
    for (const Extent& extent : target) to.push_back(extent.value);
    if (std::ranges::all_of(target, &Extent::is_known)) {
      return tensor(reshape(call.graph, input, to));
    }
    return tensor(call.graph.node("Reshape", {input, extents_tensor(call, "shape", target)},
                                  {call.graph.dtype(input), to}));
  }
  const auto rank = static_cast<int64_t>(from->size());
  const int64_t count = given_count == -1 ? rank - start : given_count;
  if (start > rank || count < 0 || count > rank - start) {
    call.fail(fmt::format("axes {} to {} of a tensor of rank {}", start, start + count, rank));
  }
  // For ONNX: 0 copies the extent at the same index, -1 is inferred, once.
  std::vector<Extent> told(static_cast<size_t>(start), Extent{0});
  Shape to(from->begin(), from->begin() + start);
  int64_t inferred = 0;
  for (size_t i = 0; i < target.size(); ++i) {
    const size_t place = i + static_cast<size_t>(start);
    if (target[i].value < -1) call.fail(fmt::format("extent {} in the shape", target[i].value));
    if (target[i].value == 0) {
      if (static_cast<int64_t>(i) >= count)
        call.fail("the shape copies an axis that the input does not have");
      told.push_back({0});
      to.push_back((*from)[place]);
    } else {
      inferred += target[i].value == -1 ? 1 : 0;
      told.push_back(target[i]);
      to.push_back(target[i].value);
    }
  }
  for (int64_t i = start + count; i < rank; ++i) {
    const int64_t extent = (*from)[static_cast<size_t>(i)];
    const bool same_place = static_cast<int64_t>(target.size()) == count;
    inferred += extent < 0 && !same_place ? 1 : 0;
    told.push_back({extent < 0 && same_place ? 0 : extent});
    to.push_back(extent);
  }
  if (inferred > 1) {
    // ONNX infers one as well, in addition to those that are computed.
    if (std::ranges::count_if(
            told, [](const Extent& extent) { return extent.is_known() && extent.value < 0; }) > 1) {
      throw NotTranslated{};
    }
    return tensor(call.graph.node("Reshape", {input, extents_tensor(call, "shape", told)},
                                  {call.graph.dtype(input), to}));
  }

  // The inferred extent where all others are known.
  const auto known = [](const Shape& shape) {
    return std::ranges::none_of(shape, [](int64_t extent) { return extent < 0; });
  };
  if (known(*from)) {
    const size_t elements = element_count(*from);
    Shape others = to;
    std::erase(others, -1);
    const size_t rest = element_count(others);
    const bool fits = inferred == 0 ? rest == elements : rest > 0 && elements % rest == 0;
    if (!fits) {
      call.fail(fmt::format("{} elements of shape {} cannot be reshaped to {}", elements,
                            to_string(*from), to_string(to)));
    }
    if (inferred != 0) std::ranges::replace(to, -1, static_cast<int64_t>(elements / rest));
    return tensor(reshape(call.graph, input, to));
  }
  // One that is free is as well inferred.
  std::vector<int64_t> values;
  for (const Extent& extent : told) values.push_back(extent.value);
  return tensor(call.graph.node("Reshape", {input, call.graph.integers("shape", values)},
                                {call.graph.dtype(input), to}));
}

EvalValue transpose(const Call& call) {
  const TensorRef input = call.tensor("input");
  std::vector<int64_t> axes = call.integers("axes");
  const std::optional<size_t> rank = call.graph.rank(input);
  if (rank) {
    // Axes that are not named stay at the end, in their order.
    for (size_t i = axes.size(); i < *rank; ++i) axes.push_back(static_cast<int64_t>(i));
  }
  std::vector<bool> seen(axes.size());
  for (const int64_t axis : axes) {
    const size_t index = call.axis(axis, rank.value_or(axes.size()));
    if (seen[index]) call.fail(fmt::format("axes name axis {} twice", axis));
    seen[index] = true;
  }
  return tensor(transpose(call.graph, input, axes));
}

EvalValue squeeze(const Call& call) {
  const TensorRef input = call.tensor("input");
  const std::optional<Shape> from = call.graph.shape(input);
  std::vector<int64_t> axes = call.integers("axes");
  std::ranges::sort(axes);
  if (axes.empty()) return tensor(input);
  std::optional<Shape> to;
  if (from) {
    to = *from;
    call.axes("axes", from->size());
    for (size_t i = axes.size(); i-- > 0;) {
      const auto place = to->begin() + axes[i];
      if (*place != 1 && *place != -1) {
        call.fail(fmt::format("axis {} of {} is not 1", axes[i], to_string(*from)));
      }
      to->erase(place);
    }
  }
  if (auto back = undone(call.graph, input, "Unsqueeze", axes)) return tensor(*back);
  if (input.constant != nullptr) return tensor({kNoValue, reshaped(input.constant, *to)});
  return tensor(call.graph.node("Squeeze", {input, call.graph.integers("axes", axes)},
                                {call.graph.dtype(input), to}));
}

EvalValue unsqueeze(const Call& call) {
  const TensorRef input = call.tensor("input");
  std::vector<int64_t> axes = call.integers("axes");
  std::ranges::sort(axes);
  if (axes.empty()) return tensor(input);
  std::optional<Shape> to = call.graph.shape(input);
  if (to) {
    call.axes("axes", to->size() + axes.size());
    for (const int64_t axis : axes) to->insert(to->begin() + axis, 1);
  }
  if (auto back = undone(call.graph, input, "Squeeze", axes)) return tensor(*back);
  if (input.constant != nullptr) return tensor({kNoValue, reshaped(input.constant, *to)});
  return tensor(call.graph.node("Unsqueeze", {input, call.graph.integers("axes", axes)},
                                {call.graph.dtype(input), to}));
}

EvalValue broadcast(const Call& call) {
  TensorRef input = call.tensor("input", DType::kUnknown);
  if (call.is_literal("input") && call.graph.dtype(input) == DType::kI64) {
    input = call.tensor("input", DType::kF32);
  }
  const std::vector<Extent> extents = call.extents("shape");
  const std::optional<Shape> from = call.graph.shape(input);
  const size_t rank = call.rank(input);
  Shape shape;
  for (const Extent& extent : extents) {
    if (extent.is_known() && extent.value < 0) call.fail(fmt::format("extent {}", extent.value));
    shape.push_back(extent.value);
  }
  // ONNX aligns at the end, tract at the front; of equal rank, or a scalar, both are the same.
  if (rank != 0 && rank != shape.size()) throw NotTranslated{};
  if (from == shape && std::ranges::all_of(extents, &Extent::is_known)) return tensor(input);
  const OutputInfo output{call.graph.dtype(input), shape};
  return tensor(call.graph.node("Expand", {input, extents_tensor(call, "shape", extents)}, output));
}

EvalValue shape_of(const Call& call) {
  const TensorRef input = call.tensor("input");
  const std::optional<size_t> rank = call.graph.rank(input);
  std::optional<Shape> shape;
  if (rank) shape = Shape{static_cast<int64_t>(*rank)};
  if (const std::optional<Shape> extents = call.graph.shape(input)) {
    const auto is_known = [](int64_t extent) { return extent >= 0; };
    if (std::ranges::all_of(*extents, is_known)) {
      return tensor(call.graph.integers("shape", *extents));
    }
  }
  return tensor(call.graph.node("Shape", {input}, {DType::kI64, shape}));
}

constexpr std::array kTranslators = {
    Translator{"reshape", reshape, "Reshape"},
    Translator{"transpose", transpose, "Transpose"},
    Translator{"squeeze", squeeze, "Squeeze"},
    Translator{"unsqueeze", unsqueeze, "Unsqueeze"},
    Translator{"tract_core_broadcast", broadcast, "Expand"},
    Translator{"tract_core_shape_of", shape_of, "Shape"},
};

}  // namespace

std::span<const Translator> shape_translators() { return kTranslators; }

}  // namespace espalier::nnef
