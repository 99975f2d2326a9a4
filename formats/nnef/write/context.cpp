#include "formats/nnef/write/context.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/nnef/language/document.h"
#include "formats/nnef/write/dat.h"
#include "formats/nnef/write/operators.h"
#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

constexpr int64_t kMaxAxis = 63;  // of tensors of unknown rank

template <typename T>
Tensor narrowed(const Shape& shape, const std::vector<int64_t>& values) {
  std::vector<T> items;
  for (const int64_t value : values) items.push_back(static_cast<T>(value));
  return Tensor::of<T>(shape, std::span<const T>(items));
}

Tensor integer_tensor(const Shape& shape, const std::vector<int64_t>& values, DType dtype) {
  if (dtype == DType::kI32) return narrowed<int32_t>(shape, values);
  if (dtype == DType::kI64) return Tensor::of<int64_t>(shape, std::span<const int64_t>(values));
  Tensor result = Tensor::zeros(DType::kBool, shape);
  for (size_t i = 0; i < values.size(); ++i) {
    result.mutable_bytes()[i] = std::byte{values[i] != 0 ? uint8_t{1} : uint8_t{0}};
  }
  return result;
}

}  // namespace

std::string_view NodeWriter::nnef() const {
  const Spelling* spelling = find_spelling(node.op);
  ESPALIER_CHECK(spelling != nullptr);
  return spelling->nnef.substr(0, spelling->nnef.find(' '));
}

ValueId NodeWriter::input_value(size_t input) const {
  if (!has(input)) fail(fmt::format("input {} is missing", input));
  return node.inputs[input];
}

bool NodeWriter::has(size_t input) const {
  return input < node.inputs.size() && node.inputs[input] != kNoValue;
}

bool NodeWriter::wants(size_t output) const {
  return output < node.outputs.size() && node.outputs[output] != kNoValue;
}

// A value as an argument: one that is written already, a weight, or known integers as a variable.
Wire NodeWriter::wire(size_t input) {
  const ValueId value = input_value(input);
  if (const auto found = state_.wires.find(value); found != state_.wires.end()) {
    return found->second;
  }
  if (find_weight(state_.model.graph, value) != nullptr) return weight_wire(state_, value);
  const auto found = state_.integers.find(value);
  if (found == state_.integers.end()) fail(fmt::format("input {} is missing", input));
  std::vector<int64_t> values;
  for (const Dim& dim : found->second.values) {
    if (!dim.constant()) {
      fail(fmt::format(
          "input {} is a shape that depends on free dimensions: bind them (--input-shape)", input));
    }
    values.push_back(*dim.constant());
  }
  const DType dtype = found->second.dtype;
  const Tensor tensor = integer_tensor(found->second.shape, values, dtype);
  const std::string& id = state_.ids[value];
  const std::string label = state_.names.label(state_.model.graph.values[value].name);
  state_.variables[id] = {label, [tensor] { return tensor; }};
  state_.variable_order.push_back(id);
  return state_.wires[value] =
             text.assign(id,
                         fmt::format("variable<{}>(shape = {}, label = {})", nnef_type(dtype),
                                     list(tensor.shape()), nnef::quoted(label)),
                         Extents(tensor.shape().begin(), tensor.shape().end()), dtype);
}

MatrixWire NodeWriter::matrix(size_t input) {
  const ValueId value = input_value(input);
  if (find_weight(state_.model.graph, value) != nullptr) return matrix_wire(state_, value);
  return {ranked(input), false};
}

std::optional<std::string> NodeWriter::sparse_product(size_t input, bool outputs_first,
                                                      const Wire& x,
                                                      const std::function<std::string()>& bias) {
  return nnef::sparse_product(state_, input_value(input), outputs_first, x, bias);
}

Wire NodeWriter::ranked(size_t input) {
  Wire result = wire(input);
  if (!result.extents) fail(fmt::format("the rank of input {} is not known", input));
  return result;
}

DType NodeWriter::dtype(size_t input) { return wire(input).dtype; }

bool NodeWriter::is_constant(size_t input) const {
  return has(input) && find_weight(state_.model.graph, node.inputs[input]) != nullptr;
}

size_t NodeWriter::rank_of_constant(size_t input) const {
  const Weight* weight = find_weight(state_.model.graph, input_value(input));
  ESPALIER_CHECK(weight != nullptr);
  return weight->shape().size();
}

std::optional<Extents> NodeWriter::known_extents(size_t input) const {
  const ValueId value = input_value(input);
  if (const auto found = state_.wires.find(value); found != state_.wires.end()) {
    return found->second.extents;
  }
  if (const Weight* weight = find_weight(state_.model.graph, value)) {
    return Extents(weight->shape().begin(), weight->shape().end());
  }
  const auto found = state_.integers.find(value);
  if (found == state_.integers.end()) return std::nullopt;
  return Extents(found->second.shape.begin(), found->second.shape.end());
}

std::optional<Integers> NodeWriter::integers(size_t input) const {
  if (!has(input)) return std::nullopt;
  if (const auto found = state_.integers.find(node.inputs[input]); found != state_.integers.end()) {
    return found->second;
  }
  const Weight* weight = find_weight(state_.model.graph, node.inputs[input]);
  constexpr size_t kMaxElements = 4096;  // shapes, axes and the like; not tables of indices
  if (weight == nullptr || weight->is_sparse() || weight->dense().count() > kMaxElements ||
      (weight->dtype() != DType::kI64 && weight->dtype() != DType::kI32)) {
    return std::nullopt;
  }
  const std::vector<int64_t> values = to_i64(weight->dense());
  return Integers{weight->shape(), Extents(values.begin(), values.end()), weight->dtype()};
}

Extents NodeWriter::extents(size_t input) const {
  const auto found = integers(input);
  if (!found) fail(fmt::format("input {} must be constant", input));
  return found->values;
}

std::vector<int64_t> NodeWriter::constants(size_t input) const {
  std::vector<int64_t> values;
  for (const Dim& dim : extents(input)) {
    if (!dim.constant()) {
      fail(fmt::format("input {} depends on free dimensions: bind them (--input-shape)", input));
    }
    values.push_back(*dim.constant());
  }
  return values;
}

std::vector<float> NodeWriter::floats(size_t input) const {
  const Weight* weight =
      is_constant(input) ? find_weight(state_.model.graph, node.inputs[input]) : nullptr;
  constexpr size_t kMaxElements = 4096;
  if (weight == nullptr || weight->is_sparse() || weight->dense().count() > kMaxElements ||
      !is_float(weight->dtype())) {
    fail(fmt::format("input {} must be a constant of floats", input));
  }
  return to_f32(weight->dense());
}

std::optional<float> NodeWriter::scalar(size_t input) const {
  if (!is_constant(input)) return std::nullopt;
  const Weight* weight = find_weight(state_.model.graph, node.inputs[input]);
  if (weight->is_sparse() || weight->dense().count() != 1 || !is_float(weight->dtype())) {
    return std::nullopt;
  }
  return to_f32(weight->dense())[0];
}

std::string NodeWriter::id(size_t output) {
  return wants(output) ? state_.ids[node.outputs[output]] : fresh(fmt::format("unused{}", output));
}

void NodeWriter::set(size_t output, Wire wire) {
  if (wants(output)) state_.wires[node.outputs[output]] = std::move(wire);
}

void NodeWriter::set(std::string expression, std::optional<Extents> extents, DType dtype) {
  set(0, text.assign(id(), std::move(expression), std::move(extents), dtype));
}

void NodeWriter::set_integers(size_t output, Integers integers) {
  if (wants(output)) state_.integers[node.outputs[output]] = std::move(integers);
}

std::string NodeWriter::fresh(std::string_view suffix) {
  for (const ValueId output : node.outputs) {
    if (output != kNoValue) return text.fresh(fmt::format("{}_{}", state_.ids[output], suffix));
  }
  return text.fresh(suffix);
}

Wire NodeWriter::step(std::string_view suffix, std::string expression,
                      std::optional<Extents> extents, DType dtype) {
  return text.assign(fresh(suffix), std::move(expression), std::move(extents), dtype);
}

void NodeWriter::use_fragment(const std::string& name, std::string definition) {
  if (state_.fragments.emplace(name, std::move(definition)).second) {
    state_.fragment_order.push_back(name);
  }
}

int64_t NodeWriter::axis(int64_t axis, size_t rank) const {
  const auto extent = static_cast<int64_t>(rank);
  if (axis < -extent || axis >= extent) {
    fail(fmt::format("axis {} of a tensor of rank {}", axis, rank));
  }
  return axis < 0 ? axis + extent : axis;
}

std::optional<std::vector<int64_t>> NodeWriter::axes(size_t input, std::optional<size_t> rank,
                                                     std::string_view name) {
  std::vector<int64_t> result;
  if (has(input)) {
    result = constants(input);
  } else if (find_attribute(node, name) != nullptr) {
    result = ints_attribute(node, name, {});
  } else {
    return std::nullopt;
  }
  for (int64_t& one : result) {
    if (rank) one = axis(one, *rank);
    if (one < 0 || one > kMaxAxis) fail("the rank of the input is not known");
  }
  std::ranges::sort(result);
  if (std::ranges::adjacent_find(result) != result.end()) fail("an axis is named twice");
  return result;
}

Wire NodeWriter::raised(const Wire& wire, size_t rank) {
  if (!wire.extents) fail(fmt::format("the rank of {} is not known", wire.id));
  std::vector<int64_t> axes;
  for (size_t i = wire.extents->size(); i < rank; ++i) {
    axes.push_back(static_cast<int64_t>(axes.size()));
  }
  return text.unsqueeze(wire, axes);
}

std::string NodeWriter::spelled(const Extents& extents) const {
  std::string out = "[";
  for (const Dim& dim : extents) {
    const auto one = dim.spelled();
    if (!one) {
      fail(
          "a shape depends on a free dimension in a way that NNEF cannot express: bind it "
          "(--input-shape)");
    }
    out += (out.size() > 1 ? ", " : "") + *one;
  }
  return out + "]";
}

void NodeWriter::fail(std::string_view text) const {
  throw Error(Fault::kUnsupported, std::string(text));
}

}  // namespace espalier::nnef
