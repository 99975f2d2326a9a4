#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "formats/nnef/write/operators.h"

namespace espalier::nnef {
namespace {

bool is_comparison(std::string_view op) {
  constexpr std::array<std::string_view, 5> kComparisons{"Equal", "Greater", "GreaterOrEqual",
                                                         "Less", "LessOrEqual"};
  return std::ranges::find(kComparisons, op) != kComparisons.end();
}

// Extents of two aligned shapes under broadcasting; where nothing is known about an extent, the
// other input's.
Extents broadcast(NodeWriter& n, const Extents& a, const Extents& b) {
  Extents result;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].constant() && b[i].constant() && !a[i].is(1) && !b[i].is(1) && a[i] != b[i]) {
      n.fail(fmt::format("shapes {} and {} do not broadcast", to_string(a), to_string(b)));
    }
    result.push_back(a[i].is(1) ? b[i] : a[i]);
  }
  return result;
}

// Inputs as arguments of equal rank: NNEF aligns shapes at their first axis, ONNX at their last. A
// scalar constant is written as a literal.
struct Operands {
  std::vector<std::string> texts;
  std::optional<Extents> extents;
  DType dtype = DType::kF32;
};

// Writes scalar constants as literals and brings all other operands to one rank.
Operands align(NodeWriter& n) {
  const size_t count = n.inputs();
  std::vector<std::optional<Wire>> wires(count);
  Operands result;
  size_t rank = 0;
  bool is_known = true, has_wire = false;
  for (size_t i = 0; i < count; ++i) {
    const auto value = n.scalar(i);
    const bool last_chance = i + 1 == count && !has_wire;
    if (value && std::isfinite(*value) && !last_chance && n.rank_of_constant(i) == 0) continue;
    wires[i] = n.wire(i);
    has_wire = true;
    is_known = is_known && wires[i]->extents.has_value();
    if (wires[i]->extents) rank = std::max(rank, wires[i]->extents->size());
    result.dtype = wires[i]->dtype;
  }
  size_t tensors = 0;
  for (const auto& wire : wires) tensors += wire.has_value() ? 1 : 0;
  if (!is_known && tensors > 1) n.fail("the rank of an input is not known");
  for (size_t i = 0; i < count; ++i) {
    if (!wires[i]) {
      result.texts.push_back(literal(*n.scalar(i)));
      continue;
    }
    const Wire wire = is_known ? n.raised(*wires[i], rank) : *wires[i];
    result.texts.push_back(wire.id);
    if (!is_known) continue;
    result.extents = result.extents ? broadcast(n, *result.extents, *wire.extents) : wire.extents;
  }
  return result;
}

// Operators that take any number of inputs: from the left, two at a time.
std::string chain(const std::vector<std::string>& texts, std::string_view name) {
  std::string so_far = texts[0];
  for (size_t i = 1; i < texts.size(); ++i) {
    so_far = fmt::format("{}({}, {})", name, so_far, texts[i]);
  }
  return so_far;
}

}  // namespace

namespace {

// NNEF declares arithmetic for scalars; tract's dialect has it for integers.
void need_tract_for(NodeWriter& n, DType dtype) {
  if (!is_float(dtype) && dtype != DType::kBool && !n.is_standard_only()) n.need_tract();
}

}  // namespace

void spell_unary(NodeWriter& n) {
  const Wire x = n.wire(0);
  need_tract_for(n, x.dtype);
  n.set(fmt::format("{}({})", n.nnef(), x.id), x.extents, x.dtype);
}

// NNEF's rcp goes by another name in tract.
void spell_reciprocal(NodeWriter& n) {
  const Wire x = n.wire(0);
  n.set(fmt::format("div(1.0, {})", x.id), x.extents, x.dtype);
}

void spell_binary(NodeWriter& n) {
  if (find_attribute(n.node, "axis") != nullptr)
    n.fail("attribute axis (opset 6) is not supported");
  if (n.inputs() == 0) n.fail("there are no inputs");
  Operands operands = align(n);
  need_tract_for(n, operands.dtype);
  if (is_comparison(n.node.op)) operands.dtype = DType::kBool;
  if (operands.texts.size() == 1) return spell_alias(n);  // Max, Min, Sum of one
  n.set(chain(operands.texts, n.nnef()), operands.extents, operands.dtype);
}

void spell_mean(NodeWriter& n) {
  if (n.inputs() == 0) n.fail("there are no inputs");
  const Operands operands = align(n);
  if (operands.texts.size() == 1) return spell_alias(n);
  n.set(fmt::format("mul({}, {})", chain(operands.texts, n.nnef()),
                    literal(1.0F / static_cast<float>(operands.texts.size()))),
        operands.extents, operands.dtype);
}

void spell_alias(NodeWriter& n) {
  if (n.wants(1)) n.fail("a second output is not supported");
  n.set(0, n.wire(0));
}

void spell_cast(NodeWriter& n) {
  const Wire x = n.wire(0);
  // TensorProto.DataType of the types that tract casts to.
  constexpr std::array<std::pair<int64_t, DType>, 11> kTypes{{{1, DType::kF32},
                                                              {2, DType::kU8},
                                                              {3, DType::kI8},
                                                              {4, DType::kU16},
                                                              {5, DType::kI16},
                                                              {6, DType::kI32},
                                                              {7, DType::kI64},
                                                              {9, DType::kBool},
                                                              {10, DType::kF16},
                                                              {11, DType::kF64},
                                                              {12, DType::kU32}}};
  const int64_t to = int_attribute(n.node, "to", 0);
  const auto* found = std::ranges::find(kTypes, to, &std::pair<int64_t, DType>::first);
  if (found == kTypes.end()) n.fail(fmt::format("element type {} is not supported", to));
  if (found->second == x.dtype) return n.set(0, x);
  n.set(fmt::format("tract_core_cast({}, to = '{}')", x.id, name_of(found->second)), x.extents,
        found->second);
}

void spell_clip(NodeWriter& n) {
  const auto bound = [&](size_t input, std::string_view name) -> std::optional<float> {
    if (n.has(input)) {
      const auto value = n.scalar(input);
      if (!value) n.fail(fmt::format("{} must be constant", name));
      return value;
    }
    if (find_attribute(n.node, name) == nullptr) return std::nullopt;
    return float_attribute(n.node, name, 0.0F);
  };
  const auto low = bound(1, "min"), high = bound(2, "max");
  const Wire x = n.wire(0);
  std::string text = x.id;
  if (high && std::isfinite(*high)) text = fmt::format("min({}, {})", text, literal(*high));
  if (low && std::isfinite(*low)) text = fmt::format("max({}, {})", text, literal(*low));
  if (text == x.id) return n.set(0, x);
  n.set(text, x.extents, x.dtype);
}

void spell_prelu(NodeWriter& n) {
  const Wire x = n.ranked(0);
  const Wire slope = n.raised(n.ranked(1), x.extents->size());
  n.set(fmt::format("prelu({}, {})", x.id, slope.id), x.extents, x.dtype);
}

void spell_where(NodeWriter& n) {
  const Operands operands = align(n);
  n.set(fmt::format("select({}, {}, {})", operands.texts[0], operands.texts[1], operands.texts[2]),
        operands.extents, n.dtype(1));
}

}  // namespace espalier::nnef
