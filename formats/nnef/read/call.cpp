#include "formats/nnef/read/call.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "formats/nnef/language/lexer.h"
#include "lib/base/checked_math.h"
#include "lib/base/error.h"

namespace espalier::nnef {

using Kind = EvalValue::Kind;

void Budget::spend(size_t steps) {
  if (steps > left_) {
    throw Error(Fault::kUnsupported, "evaluating the text takes more steps than a graph may take");
  }
  left_ -= steps;
}

void Budget::spend_for_items(size_t count) {
  constexpr size_t kSteps = 8;
  spend(checked_mul(count, kSteps).value_or(SIZE_MAX));
}

const Fragment* Reading::fragment(std::string_view name) const {
  const auto found = fragments.find(name);
  return found == fragments.end() ? nullptr : found->second;
}

void Call::fail(std::string_view text) const {
  fail_at(at, fmt::format("{}: {}", declaration.name, text));
}

const EvalValue& Call::argument(std::string_view name) const {
  for (size_t i = 0; i < arguments_.size(); ++i) {
    if (declaration.parameters[i].name == name) return arguments_[i];
  }
  ESPALIER_CHECK(false);
  return arguments_[0];
}

TensorRef Call::as_tensor(const EvalValue& value, std::string_view name, DType like) const {
  if (value.kind == Kind::tensor) return value.tensor;
  const ConstantPtr constant = literal_constant(value, like);
  if (constant == nullptr) {
    fail(fmt::format("{} is {}, expected a tensor", name, describe(value.kind)));
  }
  reading.budget.spend(element_count(constant->shape));
  return {kNoValue, constant};
}

TensorRef Call::tensor(std::string_view name, DType like) const {
  return as_tensor(argument(name), name, like);
}

std::vector<TensorRef> Call::tensors(std::string_view name) const {
  const EvalValue& list = argument(name);
  if (!list.is_list()) {
    fail(fmt::format("{} is {}, expected an array of tensors", name, describe(list.kind)));
  }
  std::vector<TensorRef> result;
  DType like = DType::kUnknown;
  for (const EvalValue& item : *list.items) {
    if (item.kind == Kind::tensor) like = graph.dtype(item.tensor);
  }
  for (const EvalValue& item : *list.items) result.push_back(as_tensor(item, name, like));
  return result;
}

int64_t Call::integer(std::string_view name) const {
  const EvalValue& value = argument(name);
  if (value.kind == Kind::dimension || value.kind == Kind::tensor) throw NotTranslated{};
  if (value.kind != Kind::integer) {
    fail(fmt::format("{} is {}, expected an integer", name, describe(value.kind)));
  }
  return value.integer;
}

double Call::scalar(std::string_view name) const {
  const EvalValue& value = argument(name);
  if (value.kind == Kind::tensor) throw NotTranslated{};
  if (!value.is_number()) {
    fail(fmt::format("{} is {}, expected a scalar", name, describe(value.kind)));
  }
  return value.number();
}

bool Call::logical(std::string_view name) const {
  const EvalValue& value = argument(name);
  if (value.kind == Kind::integer) return value.integer != 0;  // tract writes 0 and 1
  if (value.kind != Kind::logical) {
    fail(fmt::format("{} is {}, expected a logical", name, describe(value.kind)));
  }
  return value.logical;
}

const std::string& Call::text(std::string_view name) const {
  const EvalValue& value = argument(name);
  if (value.kind != Kind::string) {
    fail(fmt::format("{} is {}, expected a string", name, describe(value.kind)));
  }
  return value.text;
}

std::vector<int64_t> Call::integers(std::string_view name) const {
  std::vector<int64_t> result;
  for (const Extent& extent : extents(name)) {
    if (!extent.is_known()) throw NotTranslated{};
    result.push_back(extent.value);
  }
  return result;
}

// Items of arrays in arrays are collected in order; a tensor [n] stands for its n elements.
std::vector<Extent> Call::extents(std::string_view name) const {
  std::vector<Extent> result;
  const auto add_tensor = [&](const TensorRef& tensor) {
    const std::optional<Shape> shape = graph.shape(tensor);
    if (!shape || shape->size() > 1) throw NotTranslated{};
    const int64_t count = shape->empty() ? 1 : shape->front();
    if (count < 0) throw NotTranslated{};
    reading.budget.spend(static_cast<size_t>(count));
    if (tensor.constant != nullptr && tensor.constant->dense() != nullptr) {
      if (is_float(tensor.constant->dtype())) {
        fail(
            fmt::format("{} holds {}, expected integers", name, name_of(tensor.constant->dtype())));
      }
      for (const int64_t value : to_i64(*tensor.constant->dense())) result.push_back({value});
      return;
    }
    for (int64_t i = 0; i < count; ++i) result.push_back({-1, "", tensor, i});
  };
  const EvalValue& list = argument(name);
  if (list.kind == Kind::tensor) {
    add_tensor(list.tensor);
    return result;
  }
  if (!list.is_list()) {
    fail(fmt::format("{} is {}, expected an array of integers", name, describe(list.kind)));
  }
  std::vector<const EvalValue*> todo;
  const auto spread = [&](const EvalValue& array) {
    reading.budget.spend(array.items->size());
    for (size_t i = array.items->size(); i-- > 0;) todo.push_back(&(*array.items)[i]);
  };
  spread(list);
  while (!todo.empty()) {
    const EvalValue& item = *todo.back();
    todo.pop_back();
    if (item.kind == Kind::integer) {
      result.push_back({item.integer});
    } else if (item.kind == Kind::dimension) {
      result.push_back({-1, item.text});
    } else if (item.kind == Kind::tensor) {
      add_tensor(item.tensor);
    } else if (item.kind == Kind::array) {
      spread(item);
    } else {
      fail(fmt::format("{} holds {}, expected an integer", name, describe(item.kind)));
    }
  }
  return result;
}

std::vector<std::pair<int64_t, int64_t>> Call::pairs(std::string_view name) const {
  const EvalValue& list = argument(name);
  if (!list.is_list()) {
    fail(fmt::format("{} is {}, expected an array of pairs", name, describe(list.kind)));
  }
  std::vector<std::pair<int64_t, int64_t>> result;
  reading.budget.spend(list.items->size());
  for (const EvalValue& item : *list.items) {
    const bool pair = item.is_list() && item.items->size() == 2 &&
                      (*item.items)[0].kind == Kind::integer &&
                      (*item.items)[1].kind == Kind::integer;
    if (!pair)
      fail(fmt::format("{} holds {}, expected a pair of integers", name, describe(item.kind)));
    result.emplace_back((*item.items)[0].integer, (*item.items)[1].integer);
  }
  return result;
}

size_t Call::rank(const TensorRef& tensor) const {
  const std::optional<size_t> rank = graph.rank(tensor);
  if (!rank) throw NotTranslated{};
  return *rank;
}

Shape Call::shape(const TensorRef& tensor) const {
  std::optional<Shape> shape = graph.shape(tensor);
  if (!shape) throw NotTranslated{};
  return *std::move(shape);
}

size_t Call::axis(int64_t axis, size_t rank) const {
  if (axis < 0 || static_cast<uint64_t>(axis) >= rank) {
    fail(fmt::format("axis {} of a tensor of rank {}", axis, rank));
  }
  return static_cast<size_t>(axis);
}

std::vector<int64_t> Call::axes(std::string_view name, size_t rank) const {
  std::vector<int64_t> result = integers(name);
  std::vector<bool> seen(rank);
  for (const int64_t one : result) {
    const size_t index = axis(one, rank);
    if (seen[index]) fail(fmt::format("{} names axis {} twice", name, index));
    seen[index] = true;
  }
  return result;
}

const Translator* find_translator(std::string_view name) {
  const std::array tables = {
      elementwise_translators(), shape_translators(),  movement_translators(),
      reduction_translators(),   layer_translators(),  pooling_translators(),
      recurrent_translators(),   source_translators(), tract_translators()};
  for (const std::span<const Translator> table : tables) {
    const auto found = std::ranges::find(table, name, &Translator::name);
    if (found != table.end()) return &*found;
  }
  return nullptr;
}

namespace {

// The constant as it was before extents of 1 were put in front, which ONNX does by itself.
TensorRef without_leading_ones(const TensorRef& tensor) {
  const ConstantPtr base = tensor.constant == nullptr ? nullptr : tensor.constant->unshaped.lock();
  if (base == nullptr || base->shape.size() > tensor.constant->shape.size()) return tensor;
  const Shape& shape = tensor.constant->shape;
  const auto first = shape.end() - static_cast<ptrdiff_t>(base->shape.size());
  const bool only_ones = std::all_of(shape.begin(), first, [](int64_t one) { return one == 1; });
  if (!only_ones || !std::equal(first, shape.end(), base->shape.begin())) return tensor;
  return {kNoValue, base};
}

}  // namespace

// Appends extents of 1 to all but scalars, then removes leading ones of constants that ONNX adds
// itself.
void align_ranks(const Call& call, std::vector<TensorRef>& tensors) {
  size_t highest = 0;
  size_t unknown = 0, others = 0;
  for (const TensorRef& tensor : tensors) {
    const std::optional<size_t> rank = call.graph.rank(tensor);
    if (!rank) {
      ++unknown;
    } else if (*rank > 0) {
      ++others;
    }
    highest = std::max(highest, rank.value_or(0));
  }
  if (unknown > 0 && unknown + others > 1) throw NotTranslated{};
  for (TensorRef& tensor : tensors) {
    std::optional<Shape> shape = call.graph.shape(tensor);
    if (!shape || shape->empty() || shape->size() == highest) continue;
    std::vector<int64_t> axes;
    while (shape->size() < highest) {
      axes.push_back(static_cast<int64_t>(shape->size()));
      shape->push_back(1);
    }
    if (tensor.constant != nullptr) {
      tensor.constant = reshaped(tensor.constant, *shape);
    } else {
      tensor = call.graph.node("Unsqueeze", {tensor, call.graph.integers("axes", axes)},
                               {call.graph.dtype(tensor), *shape});
    }
  }
  // The rank of the result must come from another operand.
  for (TensorRef& tensor : tensors) {
    const auto carries_rank = [&](const TensorRef& other) {
      return other.constant == nullptr && call.graph.rank(other) == highest;
    };
    if (std::ranges::any_of(tensors, carries_rank)) tensor = without_leading_ones(tensor);
  }
}

std::optional<Shape> broadcast_shape(const GraphBuilder& graph,
                                     const std::vector<TensorRef>& tensors) {
  Shape result;
  for (const TensorRef& tensor : tensors) {
    std::optional<Shape> shape = graph.shape(tensor);
    if (!shape) return std::nullopt;
    if (shape->size() > result.size()) std::swap(*shape, result);
    const size_t skipped = result.size() - shape->size();
    for (size_t i = 0; i < shape->size(); ++i) {
      int64_t& extent = result[skipped + i];
      const int64_t other = (*shape)[i];
      if (extent == 1 || (extent == -1 && other > 1)) extent = other;
    }
  }
  return result;
}

// Joins with a Transpose before it. A constant is reshaped where only extents of 1 move, and
// transposed in place where the last two axes swap; anything else becomes a node.
TensorRef transpose(GraphBuilder& graph, const TensorRef& tensor,
                    const std::vector<int64_t>& axes) {
  std::vector<int64_t> order = axes;
  TensorRef source = tensor;
  const Node* producer = graph.producer(tensor);
  if (producer != nullptr && producer->domain.empty() && producer->op == "Transpose") {
    const std::vector<int64_t> before = ints_attribute(*producer, "perm", {});
    if (before.size() == axes.size()) {
      for (size_t i = 0; i < axes.size(); ++i) order[i] = before[static_cast<size_t>(axes[i])];
      source = {producer->inputs[0], nullptr};
    }
  }
  bool identity = true;
  for (size_t i = 0; i < order.size(); ++i) {
    identity = identity && order[i] == static_cast<int64_t>(i);
  }
  if (identity) return source;
  const size_t rank = order.size();
  std::optional<Shape> shape = graph.shape(source);
  if (source.constant != nullptr) {
    // Moving extents of 1 about is a reshape; swapping the last two turns the weight around.
    const Shape& from = source.constant->shape;
    Shape to;
    std::vector<int64_t> wide;
    for (const int64_t axis : order) {
      to.push_back(from[static_cast<size_t>(axis)]);
      if (to.back() != 1) wide.push_back(axis);
    }
    if (std::ranges::is_sorted(wide)) return {kNoValue, reshaped(source.constant, to)};
    bool last_two = rank >= 2;
    for (size_t i = 0; i + 2 < rank; ++i) {
      last_two = last_two && order[i] == static_cast<int64_t>(i);
    }
    if (last_two) return {kNoValue, transposed(source.constant)};
  }
  if (shape) {
    Shape to;
    for (const int64_t axis : order) to.push_back((*shape)[static_cast<size_t>(axis)]);
    shape = to;
  }
  return graph.node("Transpose", {source}, {graph.dtype(source), shape},
                    {attribute("perm", order)});
}

TensorRef swap_last_axes(GraphBuilder& graph, const TensorRef& tensor, size_t rank) {
  std::vector<int64_t> axes(rank);
  for (size_t i = 0; i < rank; ++i) axes[i] = static_cast<int64_t>(i);
  std::swap(axes[rank - 2], axes[rank - 1]);
  return transpose(graph, tensor, axes);
}

TensorRef reshape(GraphBuilder& graph, const TensorRef& tensor, const Shape& shape) {
  if (graph.shape(tensor) == shape) return tensor;
  if (tensor.constant != nullptr) return {kNoValue, reshaped(tensor.constant, shape)};
  return graph.node("Reshape", {tensor, graph.integers("shape", shape)},
                    {graph.dtype(tensor), shape});
}

}  // namespace espalier::nnef
