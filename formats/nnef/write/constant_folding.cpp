// Constant folding of the integers that shapes are made of: NNEF has shapes in attributes only.
// Values are in row-major order and may depend on free dimensions (Dim).
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "formats/nnef/write/context.h"
#include "lib/base/checked_math.h"

namespace espalier::nnef {
namespace {

constexpr size_t kMaxElements = 4096;

constexpr auto kConstantFolded = std::to_array<std::string_view>(
    {"Add", "Cast", "Concat", "ConstantOfShape", "Div", "Equal", "Expand", "Gather", "Identity",
     "Mul", "Reshape", "Shape", "Size", "Slice", "Squeeze", "Sub", "Transpose", "Unsqueeze",
     "Where"});

// The number of elements. Fails where a shape is too large to be computed element by element.
size_t count_of(NodeWriter& n, const Shape& shape) {
  const size_t count = element_count(shape);
  if (count > kMaxElements) n.fail(fmt::format("a computed shape of {} elements", count));
  return count;
}

std::vector<int64_t> strides_of(const Shape& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

// Calls visit(index on each axis) for all elements of `shape`, row-major.
template <typename Visit>
void for_each_place(NodeWriter& n, const Shape& shape, const Visit& visit) {
  std::vector<int64_t> place(shape.size(), 0);
  for (size_t left = count_of(n, shape); left > 0; --left) {
    visit(place);
    for (size_t axis = shape.size(); axis-- > 0;) {
      if (++place[axis] < shape[axis]) break;
      place[axis] = 0;
    }
  }
}

// The element of `from` at `place`, whose axes are those of a shape it broadcasts to.
const Dim& broadcast_at(const Integers& from, const std::vector<int64_t>& place) {
  const std::vector<int64_t> strides = strides_of(from.shape);
  const size_t skipped = place.size() - from.shape.size();
  int64_t offset = 0;
  for (size_t i = 0; i < from.shape.size(); ++i) {
    if (from.shape[i] != 1) offset += place[skipped + i] * strides[i];
  }
  return from.values[static_cast<size_t>(offset)];
}

Shape broadcast_shape(NodeWriter& n, const Shape& a, const Shape& b) {
  Shape result(std::max(a.size(), b.size()), 1);
  for (const Shape* shape : {&a, &b}) {
    for (size_t i = 0; i < shape->size(); ++i) {
      int64_t& extent = result[result.size() - shape->size() + i];
      if (extent != 1 && (*shape)[i] != 1 && extent != (*shape)[i]) {
        n.fail("shapes do not broadcast");
      }
      if ((*shape)[i] != 1) extent = (*shape)[i];
    }
  }
  return result;
}

Dim arithmetic(NodeWriter& n, std::string_view op, const Dim& a, const Dim& b) {
  if (op == "Add") return a + b;
  if (op == "Sub") return a - b;
  if (op == "Mul") return a * b;
  if (const auto exact = exact_quotient(a, b)) return *exact;  // Div
  const auto x = a.constant(), y = b.constant();
  if (y == 0) n.fail("division by zero");
  if (x && y) return Dim(*y == -1 ? (Dim(0) - a).constant().value() : *x / *y);
  return Dim::unknown();
}

Integers binary(NodeWriter& n, const Integers& a, const Integers& b) {
  Integers result{broadcast_shape(n, a.shape, b.shape), {}};
  for_each_place(n, result.shape, [&](const std::vector<int64_t>& place) {
    result.values.push_back(
        arithmetic(n, n.node.op, broadcast_at(a, place), broadcast_at(b, place)));
  });
  return result;
}

// Equal; nullopt where free dimensions decide whether two elements are equal.
std::optional<Integers> compared(NodeWriter& n, const Integers& a, const Integers& b) {
  Integers result{broadcast_shape(n, a.shape, b.shape), {}, DType::kBool};
  bool known = true;
  for_each_place(n, result.shape, [&](const std::vector<int64_t>& place) {
    const auto same = equal(broadcast_at(a, place), broadcast_at(b, place));
    known = known && same.has_value();
    result.values.emplace_back(same.value_or(false) ? 1 : 0);
  });
  if (!known) return std::nullopt;
  return result;
}

Integers chosen(NodeWriter& n, const Integers& condition, const Integers& a, const Integers& b) {
  const Shape shape = broadcast_shape(n, broadcast_shape(n, condition.shape, a.shape), b.shape);
  Integers result{shape, {}};
  for_each_place(n, shape, [&](const std::vector<int64_t>& place) {
    const bool first = !broadcast_at(condition, place).is(0);
    result.values.push_back(broadcast_at(first ? a : b, place));
  });
  return result;
}

std::optional<Integers> expanded(NodeWriter& n, const Integers& from, const Integers& target) {
  Shape extents;
  for (const Dim& dim : target.values) {
    const auto extent = dim.constant();
    if (!extent || *extent < 0) return std::nullopt;
    extents.push_back(*extent);
  }
  Integers result{broadcast_shape(n, from.shape, extents), {}};
  for_each_place(n, result.shape, [&](const std::vector<int64_t>& place) {
    result.values.push_back(broadcast_at(from, place));
  });
  return result;
}

// Gather along one axis; indices below 0 count from its end.
Integers gather(NodeWriter& n, const Integers& data, const Integers& indices) {
  const auto axis =
      static_cast<size_t>(n.axis(int_attribute(n.node, "axis", 0), data.shape.size()));
  Shape shape(data.shape.begin(), data.shape.begin() + static_cast<ptrdiff_t>(axis));
  shape.insert(shape.end(), indices.shape.begin(), indices.shape.end());
  shape.insert(shape.end(), data.shape.begin() + static_cast<ptrdiff_t>(axis) + 1,
               data.shape.end());
  const std::vector<int64_t> strides = strides_of(data.shape);
  const std::vector<int64_t> index_strides = strides_of(indices.shape);
  Integers result{shape, {}};
  for_each_place(n, shape, [&](const std::vector<int64_t>& place) {
    int64_t which = 0, offset = 0;
    for (size_t i = 0; i < indices.shape.size(); ++i) which += place[axis + i] * index_strides[i];
    const auto index = indices.values[static_cast<size_t>(which)].constant();
    const int64_t extent = data.shape[axis];
    if (!index || *index < -extent || *index >= extent) n.fail("an index is out of range");
    for (size_t i = 0; i < data.shape.size(); ++i) {
      int64_t at = i == axis ? *index + (*index < 0 ? extent : 0)
                             : place[i < axis ? i : i + indices.shape.size() - 1];
      offset += at * strides[i];
    }
    result.values.push_back(data.values[static_cast<size_t>(offset)]);
  });
  return result;
}

Integers concat(NodeWriter& n, const std::vector<Integers>& parts) {
  const size_t rank = parts[0].shape.size();
  const auto axis = static_cast<size_t>(n.axis(int_attribute(n.node, "axis", 0), rank));
  Integers result{parts[0].shape, {}};
  result.shape[axis] = 0;
  for (const Integers& part : parts) {
    if (part.shape.size() != rank) n.fail("inputs differ in rank");
    for (size_t i = 0; i < rank; ++i) {
      if (i != axis && part.shape[i] != parts[0].shape[i]) n.fail("inputs differ in shape");
    }
    result.shape[axis] += part.shape[axis];
  }
  for_each_place(n, result.shape, [&](std::vector<int64_t> place) {
    for (const Integers& part : parts) {
      if (place[axis] < part.shape[axis]) {
        result.values.push_back(broadcast_at(part, place));
        return;
      }
      place[axis] -= part.shape[axis];
    }
  });
  return result;
}

// Elements of `from` with the same values under another shape.
Integers reshaped(NodeWriter& n, const Integers& from, Shape shape) {
  if (element_count(shape) != from.values.size()) n.fail("the shape does not match the input");
  return {std::move(shape), from.values};
}

bool is_free(const NodeWriter& n, size_t input) {
  const auto known = n.integers(input);
  return known && std::ranges::any_of(known->values, [](const Dim& d) { return !d.constant(); });
}

std::optional<Integers> reshape(NodeWriter& n, const Integers& from) {
  if (is_free(n, 1)) return std::nullopt;
  Shape shape = n.constants(1);
  int64_t known = 1;
  std::optional<size_t> inferred;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0 && i < from.shape.size()) shape[i] = from.shape[i];
    if (shape[i] == -1 && !inferred) {
      inferred = i;
    } else if (shape[i] < 1 || shape[i] > static_cast<int64_t>(kMaxElements)) {
      n.fail("the shape does not match the input");
    } else if ((known *= shape[i]) > static_cast<int64_t>(kMaxElements)) {
      n.fail("the shape does not match the input");
    }
  }
  if (inferred) shape[*inferred] = static_cast<int64_t>(from.values.size()) / known;
  return reshaped(n, from, std::move(shape));
}

Integers squeeze(NodeWriter& n, const Integers& from) {
  const auto axes = n.axes(1, from.shape.size());
  Shape shape;
  for (size_t i = 0; i < from.shape.size(); ++i) {
    const bool named = axes ? std::ranges::find(*axes, static_cast<int64_t>(i)) != axes->end()
                            : from.shape[i] == 1;
    if (!named) shape.push_back(from.shape[i]);
  }
  return reshaped(n, from, std::move(shape));
}

Integers unsqueeze(NodeWriter& n, const Integers& from) {
  const size_t more = n.has(1) ? n.constants(1).size() : ints_attribute(n.node, "axes", {}).size();
  const auto axes = n.axes(1, from.shape.size() + more);
  if (!axes) n.fail("axes are missing");
  Shape shape = from.shape;
  for (const int64_t axis : *axes) shape.insert(shape.begin() + axis, 1);
  return reshaped(n, from, std::move(shape));
}

// Transpose by perm, by default the axes in reverse.
Integers transpose(NodeWriter& n, const Integers& from) {
  const size_t rank = from.shape.size();
  std::vector<int64_t> perm(rank);
  for (size_t i = 0; i < rank; ++i) perm[i] = static_cast<int64_t>(rank - 1 - i);
  perm = ints_attribute(n.node, "perm", perm);
  std::vector<int64_t> sorted = perm;
  std::ranges::sort(sorted);
  Shape shape;
  for (size_t i = 0; i < rank; ++i) {
    if (sorted.size() != rank || sorted[i] != static_cast<int64_t>(i)) {
      n.fail("perm is not a permutation of the input's axes");
    }
    shape.push_back(from.shape[static_cast<size_t>(perm[i])]);
  }
  const std::vector<int64_t> strides = strides_of(from.shape);
  Integers result{shape, {}};
  for_each_place(n, shape, [&](const std::vector<int64_t>& place) {
    int64_t offset = 0;
    for (size_t i = 0; i < rank; ++i) offset += place[i] * strides[static_cast<size_t>(perm[i])];
    result.values.push_back(from.values[static_cast<size_t>(offset)]);
  });
  return result;
}

// One axis of ONNX's Slice: the indices that are kept, in order.
std::vector<int64_t> kept_places(NodeWriter& n, int64_t extent, int64_t begin, int64_t end,
                                 int64_t step) {
  if (step == 0 || step == INT64_MIN) n.fail("a step of 0");
  const int64_t low = step > 0 ? 0 : -1, high = step > 0 ? extent : extent - 1;
  const auto clamp = [&](int64_t place) {
    return std::clamp<int64_t>(place < 0 ? place + extent : place, low, high);
  };
  std::vector<int64_t> places;
  const int64_t last = clamp(end);
  for (int64_t place = clamp(begin); step > 0 ? place < last : place > last;) {
    places.push_back(place);
    const auto next = checked_add(place, step);
    if (!next) break;
    place = *next;
  }
  return places;
}

// Slice, with its ranges in attributes (opset 1) or inputs; nullopt where free dimensions decide
// what is kept.
std::optional<Integers> slice(NodeWriter& n, const Integers& from) {
  if (is_free(n, 1) || is_free(n, 2)) return std::nullopt;
  const bool by_attribute = n.inputs() == 1;
  const auto starts = by_attribute ? ints_attribute(n.node, "starts", {}) : n.constants(1);
  const auto ends = by_attribute ? ints_attribute(n.node, "ends", {}) : n.constants(2);
  std::vector<int64_t> axes(starts.size()), steps(starts.size(), 1);
  std::iota(axes.begin(), axes.end(), 0);
  if (by_attribute) axes = ints_attribute(n.node, "axes", axes);
  if (n.has(3)) axes = n.constants(3);
  if (n.has(4)) steps = n.constants(4);
  if (ends.size() != starts.size() || axes.size() != starts.size() ||
      steps.size() != starts.size()) {
    n.fail("starts, ends, axes and steps differ in length");
  }
  const size_t rank = from.shape.size();
  std::vector<std::vector<int64_t>> kept(rank);
  for (size_t i = 0; i < rank; ++i) {
    kept[i].resize(static_cast<size_t>(from.shape[i]));
    std::iota(kept[i].begin(), kept[i].end(), 0);
  }
  for (size_t i = 0; i < starts.size(); ++i) {
    const auto axis = static_cast<size_t>(n.axis(axes[i], rank));
    kept[axis] = kept_places(n, from.shape[axis], starts[i], ends[i], steps[i]);
  }
  Integers result;
  for (const auto& places : kept) result.shape.push_back(static_cast<int64_t>(places.size()));
  const std::vector<int64_t> strides = strides_of(from.shape);
  for_each_place(n, result.shape, [&](const std::vector<int64_t>& place) {
    int64_t offset = 0;
    for (size_t i = 0; i < rank; ++i) offset += kept[i][static_cast<size_t>(place[i])] * strides[i];
    result.values.push_back(from.values[static_cast<size_t>(offset)]);
  });
  return result;
}

// ConstantOfShape of integers and a known shape; nullopt for anything else.
std::optional<Integers> filled(NodeWriter& n, const Integers& shape) {
  const Attribute* attribute = find_attribute(n.node, "value");
  const auto* value = attribute == nullptr ? nullptr : std::get_if<Tensor>(&attribute->value);
  if (value == nullptr || value->count() != 1 ||
      (value->dtype() != DType::kI64 && value->dtype() != DType::kI32)) {
    return std::nullopt;
  }
  Integers result;
  for (const Dim& dim : shape.values) {
    if (!dim.constant()) return std::nullopt;
    result.shape.push_back(*dim.constant());
  }
  result.values.assign(count_of(n, result.shape), Dim(to_i64(*value)[0]));
  result.dtype = value->dtype();
  return result;
}

std::optional<Integers> shape_of(NodeWriter& n) {
  const auto extents = n.known_extents(0);
  if (!extents) return std::nullopt;
  const auto rank = static_cast<int64_t>(extents->size());
  const auto place = [&](std::string_view name, int64_t fallback) {
    const int64_t value = int_attribute(n.node, name, fallback);
    return std::clamp<int64_t>(value < 0 ? value + rank : value, 0, rank);
  };
  const int64_t begin = place("start", 0), end = std::max(begin, place("end", rank));
  return Integers{{end - begin}, {extents->begin() + begin, extents->begin() + end}};
}

// Operators whose result has the type of the first input, which is present; `inputs` are the
// present ones.
std::optional<Integers> computed(NodeWriter& n, const std::vector<Integers>& inputs) {
  const std::string& op = n.node.op;
  const auto expect = [&](size_t count) {
    if (inputs.size() != count) n.fail(fmt::format("expected {} inputs", count));
  };
  if (op == "Add" || op == "Sub" || op == "Mul" || op == "Div") {
    expect(2);
    return binary(n, inputs[0], inputs[1]);
  }
  if (op == "Concat") return concat(n, inputs);
  if (op == "Expand") {
    expect(2);
    return expanded(n, inputs[0], inputs[1]);
  }
  if (op == "Gather") {
    expect(2);
    return gather(n, inputs[0], inputs[1]);
  }
  if (op == "Reshape") return reshape(n, inputs[0]);
  if (op == "Slice") return slice(n, inputs[0]);
  if (op == "Squeeze") return squeeze(n, inputs[0]);
  if (op == "Transpose") return transpose(n, inputs[0]);
  if (op == "Unsqueeze") return unsqueeze(n, inputs[0]);
  return inputs[0];  // Identity
}

// The result of the node where all its inputs are known integers, or where it only needs the
// extents of its input; else nullopt.
std::optional<Integers> constant_folded(NodeWriter& n) {
  const std::string& op = n.node.op;
  if (op == "Shape") return shape_of(n);
  if (op == "Size") {
    const auto extents = n.known_extents(0);
    if (!extents) return std::nullopt;
    return Integers{{}, {product(*extents, 0, extents->size())}};
  }
  if (std::ranges::find(kConstantFolded, op) == kConstantFolded.end() || n.inputs() == 0)
    return std::nullopt;
  std::vector<Integers> inputs;
  for (size_t i = 0; i < n.inputs(); ++i) {
    if (!n.has(i)) {
      if (i == 0) return std::nullopt;
      continue;
    }
    auto one = n.integers(i);
    if (!one) return std::nullopt;
    inputs.push_back(std::move(*one));
  }
  if (op == "ConstantOfShape") return filled(n, inputs[0]);
  if (op == "Equal" && inputs.size() == 2) return compared(n, inputs[0], inputs[1]);
  if (op == "Where" && inputs.size() == 3) {
    auto result = chosen(n, inputs[0], inputs[1], inputs[2]);
    result.dtype = inputs[1].dtype;
    return result;
  }
  if (op == "Cast") {  // to another integer of shapes; a float is not part of a shape
    const int64_t to = int_attribute(n.node, "to", 0);
    constexpr int64_t kInt32 = 6, kInt64 = 7;
    if (to != kInt64 && to != kInt32) return std::nullopt;
    inputs[0].dtype = to == kInt64 ? DType::kI64 : DType::kI32;
    return inputs[0];
  }
  if (op == "Equal" || op == "Where") return std::nullopt;
  std::optional<Integers> result = computed(n, inputs);
  if (result) result->dtype = inputs[0].dtype;
  return result;
}

}  // namespace

std::span<const std::string_view> constant_folded_operators() { return kConstantFolded; }

bool fold_constants(NodeWriter& n) {
  if (!n.node.domain.empty() || n.node.outputs.size() != 1) return false;
  auto result = constant_folded(n);
  if (!result) return false;
  n.set_integers(0, std::move(*result));
  return true;
}

}  // namespace espalier::nnef
