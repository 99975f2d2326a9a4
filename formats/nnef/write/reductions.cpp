// Reductions: NNEF keeps the axes, with extent 1.
#include <fmt/format.h>

#include <numeric>

#include "formats/nnef/write/operators.h"

namespace espalier::nnef {
namespace {

// What a reduction of `x` is, over `axes` as text.
std::string reduced(NodeWriter& n, const Wire& x, const std::string& axes) {
  const std::string& op = n.node.op;
  const auto sum = [&](const std::string& of) {
    return fmt::format("sum_reduce({}, axes = {})", of, axes);
  };
  if (op == "ReduceL1") return sum(fmt::format("abs({})", x.id));
  if (op == "ReduceL2") return fmt::format("sqrt({})", sum(fmt::format("mul({0}, {0})", x.id)));
  if (op == "ReduceSumSquare") return sum(fmt::format("mul({0}, {0})", x.id));
  if (op == "ReduceLogSum") return fmt::format("log({})", sum(x.id));
  if (op != "ReduceLogSumExp") return fmt::format("{}({}, axes = {})", n.nnef(), x.id, axes);
  const Wire most =
      n.step("most", fmt::format("max_reduce({}, axes = {})", x.id, axes), std::nullopt, x.dtype);
  return fmt::format("add({}, log({}))", most.id,
                     sum(fmt::format("exp(sub({}, {}))", x.id, most.id)));
}

void set_reduced(NodeWriter& n, const Wire& x, const std::vector<int64_t>& axes,
                 const std::string& text, DType dtype) {
  Extents extents = *x.extents;
  for (const int64_t axis : axes) extents[static_cast<size_t>(axis)] = Dim(1);
  if (int_attribute(n.node, "keepdims", 1) != 0) return n.set(text, extents, dtype);
  n.set(0, n.text.squeeze(n.step("kept", text, extents, dtype), axes, n.id()));
}

}  // namespace

void spell_reduce(NodeWriter& n) {
  const Wire x = n.ranked(0);
  const size_t rank = x.extents->size();
  auto axes = n.axes(1, rank);
  if (!axes || axes->empty()) {
    if (int_attribute(n.node, "noop_with_empty_axes", 0) != 0) return n.set(0, x);
    axes.emplace(rank);
    std::iota(axes->begin(), axes->end(), 0);
  }
  set_reduced(n, x, *axes, reduced(n, x, list(*axes)), x.dtype);
}

void spell_arg_reduce(NodeWriter& n) {
  const Wire x = n.ranked(0);
  const int64_t axis = n.axis(int_attribute(n.node, "axis", 0), x.extents->size());
  const bool last = int_attribute(n.node, "select_last_index", 0) != 0;
  const std::string_view side = n.node.op == "ArgMax" ? "max" : "min";
  const std::string text =
      last ? fmt::format("tract_core_arg{}_reduce_last({}, axes = [{}])", side, x.id, axis)
           : fmt::format("arg{}_reduce({}, axes = [{}])", side, x.id, axis);
  set_reduced(n, x, {axis}, text, DType::kI64);
}

}  // namespace espalier::nnef
