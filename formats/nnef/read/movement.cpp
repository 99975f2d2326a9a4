// Operators that move elements without computing: joining, cutting, padding, repeating, gathering.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "formats/nnef/read/call.h"
#include "formats/nnef/read/packed_arithmetic.h"
#include "lib/base/checked_math.h"
#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

EvalValue tensor(TensorRef value) { return EvalValue::of_tensor(std::move(value)); }

// Strips of a packed weight become one packed weight.
EvalValue concat(const Call& call) {
  const std::vector<TensorRef> values = call.tensors("values");
  if (values.empty()) call.fail("values is empty");
  const int64_t axis = call.integer("axis");
  std::optional<Shape> shape = call.graph.shape(values[0]);
  if (shape) {
    const size_t place = call.axis(axis, shape->size());
    for (size_t i = 1; i < values.size() && shape; ++i) {
      const std::optional<Shape> other = call.graph.shape(values[i]);
      if (other && other->size() != shape->size()) call.fail("values differ in rank");
      int64_t& extent = (*shape)[place];
      const int64_t more = other ? (*other)[place] : -1;
      extent = extent < 0 || more < 0 ? -1 : extent + more;
      if (!other) shape.reset();
    }
  }
  if (shape) {
    const size_t place = call.axis(axis, shape->size());
    if (auto packed = concat_packed(values, place)) return *std::move(packed);
    if (place == 0) {
      if (auto diagonal = concat_diagonals(values)) return *std::move(diagonal);
    }
  }
  if (values.size() == 1) return tensor(values[0]);
  return tensor(call.graph.node("Concat", values, {call.graph.dtype(values[0]), shape},
                                {attribute("axis", axis)}));
}

EvalValue stack(const Call& call) {
  std::vector<TensorRef> values = call.tensors("values");
  if (values.empty()) call.fail("values is empty");
  const int64_t axis = call.integer("axis");
  const size_t rank = call.rank(values[0]);
  call.axis(axis, rank + 1);
  for (const TensorRef& value : values) {
    if (call.rank(value) != rank) call.fail("values differ in rank");
  }
  std::optional<Shape> shape = call.graph.shape(values[0]);
  shape->insert(shape->begin() + axis, 1);
  for (TensorRef& value : values) {
    Shape raised = call.shape(value);
    raised.insert(raised.begin() + axis, 1);
    value = call.graph.node("Unsqueeze", {value, call.graph.integers("axes", {axis})},
                            {call.graph.dtype(value), raised});
  }
  (*shape)[static_cast<size_t>(axis)] = static_cast<int64_t>(values.size());
  return tensor(call.graph.node("Concat", values, {call.graph.dtype(values[0]), shape},
                                {attribute("axis", axis)}));
}

std::vector<TensorRef> split_into(const Call& call, const TensorRef& value, int64_t axis,
                                  const std::vector<int64_t>& sizes) {
  Node node;
  node.op = "Split";
  node.attributes = {attribute("axis", axis)};
  Shape shape = call.shape(value);
  std::vector<OutputInfo> outputs;
  for (const int64_t size : sizes) {
    shape[static_cast<size_t>(axis)] = size;
    outputs.push_back({call.graph.dtype(value), shape});
  }
  return call.graph.node(std::move(node), {value, call.graph.integers("split", sizes)}, outputs);
}

EvalValue as_array(const Call& call, const std::vector<TensorRef>& tensors) {
  std::vector<EvalValue> items;
  for (const TensorRef& one : tensors) items.push_back(tensor(one));
  return EvalValue::of_list(EvalValue::Kind::array, std::move(items), call.at);
}

EvalValue split(const Call& call) {
  const TensorRef value = call.tensor("value");
  const int64_t axis = call.integer("axis");
  const Shape shape = call.shape(value);
  const int64_t extent = shape[call.axis(axis, shape.size())];
  std::vector<int64_t> ratios = call.integers("ratios");
  int64_t total = 0;
  for (const int64_t ratio : ratios) {
    if (ratio < 1 || ratio > INT32_MAX) call.fail(fmt::format("ratio {}", ratio));
    total += ratio;
  }
  if (ratios.empty()) call.fail("ratios is empty");
  if (extent < 0) throw NotTranslated{};
  if (extent % total != 0) {
    call.fail(
        fmt::format("extent {} is not a multiple of the sum {} of the ratios", extent, total));
  }
  for (int64_t& ratio : ratios) ratio *= extent / total;
  return as_array(call, split_into(call, value, axis, ratios));
}

EvalValue unstack(const Call& call) {
  const TensorRef value = call.tensor("value");
  const int64_t axis = call.integer("axis");
  const Shape shape = call.shape(value);
  const size_t place = call.axis(axis, shape.size());
  if (shape[place] < 1) throw NotTranslated{};
  const auto count = static_cast<size_t>(shape[place]);
  call.reading.budget.spend(count);
  Shape lower = shape;
  lower.erase(lower.begin() + axis);
  std::vector<TensorRef> parts;
  for (const TensorRef& part : split_into(call, value, axis, std::vector<int64_t>(count, 1))) {
    parts.push_back(call.graph.node("Squeeze", {part, call.graph.integers("axes", {axis})},
                                    {call.graph.dtype(value), lower}));
  }
  return as_array(call, parts);
}

// Extent of begin:end:stride of an axis; -1 where it is not known.
int64_t sliced_extent(int64_t extent, int64_t begin, int64_t end, int64_t stride) {
  if (extent < 0) return -1;
  const auto clamp = [&](int64_t place) {
    return std::clamp<int64_t>(place < 0 ? place + extent : place, 0, extent);
  };
  const int64_t length = clamp(end) - clamp(begin);
  return length <= 0 ? 0 : (length + stride - 1) / stride;
}

// `count` extents from `begin` on of a shape_of, where all of them are known.
std::optional<EvalValue> known_extents(const Call& call, const TensorRef& shape, int64_t begin,
                                       int64_t count) {
  const Node* node = call.graph.producer(shape);
  if (node == nullptr || node->op != "Shape" || !node->domain.empty()) return std::nullopt;
  const std::optional<Shape> whole = call.graph.shape(call.graph.tensor(node->inputs[0]));
  if (!whole) return std::nullopt;
  const int64_t from = begin < 0 ? begin + static_cast<int64_t>(whole->size()) : begin;
  if (from < 0 || from + count > static_cast<int64_t>(whole->size())) return std::nullopt;
  const std::vector<int64_t> part(whole->begin() + from, whole->begin() + from + count);
  if (std::ranges::any_of(part, [](int64_t extent) { return extent < 0; })) return std::nullopt;
  call.graph.allow_drop(shape);
  return tensor(call.graph.integers("extents", part));
}

// begin:end:stride of some axes; an end of 0 is the end of the axis. Rows of a constant are cut at
// once, extents of a known shape become constants.
EvalValue slice(const Call& call) {
  const TensorRef input = call.tensor("input");
  std::optional<Shape> shape = call.graph.shape(input);
  const std::vector<int64_t> axes =
      shape ? call.axes("axes", shape->size()) : call.integers("axes");
  const std::vector<Extent> begin = call.extents("begin");
  std::vector<Extent> end = call.extents("end");
  std::vector<int64_t> stride = call.integers("stride");
  if (stride.empty()) stride.assign(axes.size(), 1);
  if (begin.size() != axes.size() || end.size() != axes.size() || stride.size() != axes.size()) {
    call.fail("axes, begin, end and stride differ in length");
  }
  for (size_t i = 0; i < axes.size(); ++i) {
    if (stride[i] < 1) throw NotTranslated{};
    if (end[i].value == 0) end[i].value = std::numeric_limits<int64_t>::max();  // to the end
    if (!shape) continue;
    int64_t& extent = (*shape)[static_cast<size_t>(axes[i])];
    const bool is_known = begin[i].is_known() && end[i].is_known();
    extent = is_known ? sliced_extent(extent, begin[i].value, end[i].value, stride[i]) : -1;
  }
  const bool rows = shape && axes.size() == 1 && axes[0] == 0 && stride[0] == 1;
  if (rows && (*shape)[0] > 0) {
    if (auto known = known_extents(call, input, begin[0].value, (*shape)[0])) return *known;
  }
  if (input.constant != nullptr && rows && (*shape)[0] > 0) {
    const int64_t extent = input.constant->shape[0];
    const int64_t from =
        begin[0].value < 0 ? std::max<int64_t>(begin[0].value + extent, 0) : begin[0].value;
    return tensor({kNoValue, first_axis_slice(input.constant, from, from + (*shape)[0])});
  }
  std::vector<TensorRef> inputs = {input, extents_tensor(call, "begin", begin),
                                   extents_tensor(call, "end", end),
                                   call.graph.integers("axes", axes)};
  const bool strided = std::ranges::any_of(stride, [](int64_t step) { return step != 1; });
  if (strided) inputs.push_back(call.graph.integers("stride", stride));
  return tensor(call.graph.node("Slice", inputs, {call.graph.dtype(input), shape}));
}

// Padding before and after each axis: constant, replicated or reflected.
EvalValue pad(const Call& call) {
  const TensorRef input = call.tensor("input", DType::kF32);
  const auto padding = call.pairs("padding");
  const std::string& border = call.text("border");
  std::optional<Shape> shape = call.graph.shape(input);
  if (shape && padding.size() != shape->size()) {
    call.fail(fmt::format("{} pairs of padding for rank {}", padding.size(), shape->size()));
  }
  std::string mode = border;
  if (border == "replicate" || border == "replicated") mode = "edge";  // the second is tract's
  if (mode != "constant" && mode != "edge" && mode != "reflect") throw NotTranslated{};
  std::vector<int64_t> before, after;
  for (size_t i = 0; i < padding.size(); ++i) {
    if (std::abs(padding[i].first) > INT32_MAX || std::abs(padding[i].second) > INT32_MAX) {
      call.fail("padding is too large");
    }
    before.push_back(padding[i].first);
    after.push_back(padding[i].second);
    if (shape && (*shape)[i] >= 0) (*shape)[i] += before.back() + after.back();
  }
  std::vector<int64_t> pads = before;
  pads.insert(pads.end(), after.begin(), after.end());
  std::vector<TensorRef> inputs = {input, call.graph.integers("pads", pads)};
  if (mode == "constant") {
    inputs.push_back(call.tensor("value", call.graph.dtype(input)));
  }
  return tensor(
      call.graph.node("Pad", inputs, {call.graph.dtype(input), shape}, {attribute("mode", mode)}));
}

EvalValue tile(const Call& call) {
  const TensorRef input = call.tensor("input");
  const std::vector<Extent> repeats = call.extents("repeats");
  std::optional<Shape> shape = call.graph.shape(input);
  if (shape) {
    if (repeats.size() != shape->size()) call.fail("repeats has a length that differs from the rank");
    for (size_t i = 0; i < repeats.size(); ++i) {
      const int64_t times = repeats[i].value;
      if (repeats[i].is_known() && (times < 0 || times > INT32_MAX)) {
        call.fail("a repeat is out of range");
      }
      int64_t& extent = (*shape)[i];
      extent = extent < 0 || times < 0 ? -1 : checked_mul(extent, times).value_or(-1);
    }
  }
  return tensor(call.graph.node("Tile", {input, extents_tensor(call, "repeats", repeats)},
                                {call.graph.dtype(input), shape}));
}

// Indices as ONNX takes them: tract takes floats, too.
TensorRef index_tensor(const Call& call, const TensorRef& indices) {
  return call.graph.dtype(indices) == DType::kI32 ? indices : as_i64(call, indices);
}

EvalValue gather(const Call& call) {
  const TensorRef input = call.tensor("input"), indices = call.tensor("indices", DType::kI64);
  const int64_t axis = call.integer("axis");
  const std::optional<Shape> from = call.graph.shape(input), places = call.graph.shape(indices);
  std::optional<Shape> to;
  if (from) call.axis(axis, from->size());
  if (from && places) {
    to = *from;
    to->erase(to->begin() + axis);
    to->insert(to->begin() + axis, places->begin(), places->end());
  }
  return tensor(call.graph.node("Gather", {input, index_tensor(call, indices)},
                                {call.graph.dtype(input), to}, {attribute("axis", axis)}));
}

EvalValue gather_elements(const Call& call) {
  const TensorRef input = call.tensor("input"), indices = call.tensor("indices", DType::kI64);
  return tensor(call.graph.node("GatherElements", {input, index_tensor(call, indices)},
                                {call.graph.dtype(input), call.graph.shape(indices)},
                                {attribute("axis", call.integer("axis"))}));
}

EvalValue gather_nd(const Call& call) {
  const TensorRef input = call.tensor("input"), indices = call.tensor("indices", DType::kI64);
  return tensor(call.graph.node("GatherND", {input, as_i64(call, indices)},
                                {call.graph.dtype(input), {}},
                                {attribute("batch_dims", call.integer("batch_dims"))}));
}

EvalValue scatter_nd(const Call& call) {
  const TensorRef input = call.tensor("input");
  const DType dtype = call.graph.dtype(input);
  const std::string& reduction = call.text("reduction");
  std::vector<Attribute> attributes;
  if (reduction != "none") attributes.push_back(attribute("reduction", reduction));
  return tensor(call.graph.node(
      "ScatterND",
      {input, as_i64(call, call.tensor("indices", DType::kI64)), call.tensor("updates", dtype)},
      {dtype, call.graph.shape(input)}, std::move(attributes)));
}

constexpr std::array kTranslators = {
    Translator{"concat", concat, "Concat"},
    Translator{"stack", stack, "Unsqueeze Concat"},
    Translator{"split", split, "Split"},
    Translator{"unstack", unstack, "Split Squeeze"},
    Translator{"slice", slice, "Slice"},
    Translator{"pad", pad, "Pad"},
    Translator{"tile", tile, "Tile"},
    Translator{"gather", gather, "Gather Cast"},
    Translator{"tract_core_gather", gather, "Gather Cast"},
    Translator{"tract_core_gather_elements", gather_elements, "GatherElements"},
    Translator{"tract_core_gather_nd", gather_nd, "GatherND"},
    Translator{"tract_core_scatter_nd", scatter_nd, "ScatterND"},
};

}  // namespace

std::span<const Translator> movement_translators() { return kTranslators; }

}  // namespace espalier::nnef
