// Operators that move elements without computing.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "formats/nnef/write/operators.h"

namespace espalier::nnef {
namespace {

std::vector<int64_t> axes_of_ones(NodeWriter& n, const Extents& extents) {
  std::vector<int64_t> axes;
  for (size_t i = 0; i < extents.size(); ++i) {
    if (!extents[i].constant())
      n.fail("axes are missing and a dimension is free: bind it (--input-shape)");
    if (extents[i].is(1)) axes.push_back(static_cast<int64_t>(i));
  }
  return axes;
}

// Extents as an NNEF reshape says them: 0 for an extent of the input at the same place, -1 for the
// one that follows from the others.
std::string reshape_target(NodeWriter& n, const Extents& from, const Extents& to) {
  std::vector<int64_t> target;
  size_t inferred = 0;
  for (size_t i = 0; i < to.size(); ++i) {
    const auto value = to[i].constant();
    if (value && *value > 0) {
      target.push_back(*value);
    } else if (i < from.size() && from[i] == to[i]) {
      target.push_back(0);
    } else {
      target.push_back(-1);
      ++inferred;
    }
  }
  if (inferred > 1) {
    n.fail(fmt::format(
        "NNEF cannot express a reshape from {} to {}: bind free dimensions (--input-shape)",
        to_string(from), to_string(to)));
  }
  return list(target);
}

void reshape(NodeWriter& n, const Wire& x, const Extents& to) {
  if (x.extents == to) return n.set(0, x);
  n.set(fmt::format("reshape({}, shape = {})", x.id, reshape_target(n, *x.extents, to)), to,
        x.dtype);
}

// One axis of a Slice: where it begins and ends, within 0 .. extent where that is a number.
struct Cut {
  int64_t axis;
  Dim begin, end;
  int64_t step;
};

Cut cut_of(NodeWriter& n, int64_t axis, const Dim& extent, const Dim& begin, const Dim& end,
           int64_t step) {
  if (step < 1) n.fail(fmt::format("step {} is not supported", step));
  const auto size = extent.constant();
  if (size && begin.constant() && end.constant()) {
    const auto clamp = [&](int64_t place) {
      return std::clamp<int64_t>(place < 0 ? place + *size : place, 0, *size);
    };
    return {axis, clamp(*begin.constant()), clamp(*end.constant()), step};
  }
  // Of what is free nothing is known; places are taken to lie inside, as stock readers do.
  // Exporters say "to the end" by the largest integer or by a round number (jax2tf: 10^9).
  constexpr int64_t kFar = 1'000'000'000;
  const auto place = [&](const Dim& dim) {
    if (!dim.constant()) return dim;
    const int64_t at = *dim.constant();
    if (at <= -kFar) return Dim(0);
    if (at >= kFar) return extent;
    return at < 0 ? extent + Dim(at) : Dim(at);
  };
  return {axis, place(begin), place(end), step};
}

void slice(NodeWriter& n, const Wire& x, const std::vector<Cut>& cuts) {
  Extents extents = *x.extents, begins, ends;
  std::vector<int64_t> axes, steps;
  for (const Cut& cut : cuts) {
    Dim& extent = extents[static_cast<size_t>(cut.axis)];
    if (cut.begin.is(0) && cut.end == extent && cut.step == 1) continue;
    const Dim length = cut.end - cut.begin;
    if (!extent.constant() && cut.step != 1)
      n.fail("steps over a free dimension: bind it (--input-shape)");
    if (length.constant() && *length.constant() < 1) n.fail("an empty slice is not supported");
    axes.push_back(cut.axis);
    begins.push_back(cut.begin);
    ends.push_back(cut.end);
    steps.push_back(cut.step);
    extent = floor_quotient(length + Dim(cut.step - 1), cut.step);
  }
  if (axes.empty()) return n.set(0, x);
  const bool strided = std::ranges::any_of(steps, [](int64_t step) { return step != 1; });
  n.set(fmt::format("slice({}, axes = {}, begin = {}, end = {}{})", x.id, list(axes),
                    n.spelled(begins), n.spelled(ends),
                    strided ? fmt::format(", stride = {}", list(steps)) : ""),
        extents, x.dtype);
}

Extents dims(const std::vector<int64_t>& values) { return {values.begin(), values.end()}; }

}  // namespace

namespace {

// Stock readers refuse a concat of extents that they do not know to be equal.
void want_equal(NodeWriter& n, const Extents& a, const Extents& b, size_t axis) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (i == axis || equal(a[i], b[i]) == true) continue;
    if (a[i].constant() && b[i].constant()) {
      n.fail(fmt::format("inputs {} and {} do not match", to_string(a), to_string(b)));
    }
    n.fail(
        fmt::format("inputs {} and {} are not known to match: bind free dimensions (--input-shape)",
                    to_string(a), to_string(b)));
  }
}

}  // namespace

Wire merge_axes(NodeWriter& n, const Wire& x, size_t axis, std::string id) {
  Extents extents = *x.extents;
  extents[axis] = extents[axis] * extents[axis + 1];
  extents.erase(extents.begin() + static_cast<ptrdiff_t>(axis) + 1);
  if (id.empty()) id = n.fresh("merged");
  return n.text.assign(id,
                       fmt::format("reshape({}, shape = [{}], axis_start = {}, axis_count = 2)",
                                   x.id, extents[axis].constant().value_or(-1), axis),
                       extents, x.dtype);
}

void spell_transpose(NodeWriter& n) {
  const Wire x = n.wire(0);
  const bool named = find_attribute(n.node, "perm") != nullptr;
  std::vector<int64_t> perm = ints_attribute(n.node, "perm", {});
  if (!named || x.extents) perm.resize(n.ranked(0).extents->size(), -1);
  std::vector<int64_t> in_order(perm.size());
  std::iota(in_order.begin(), in_order.end(), 0);
  if (!named) perm.assign(in_order.rbegin(), in_order.rend());
  std::vector<int64_t> sorted = perm;
  std::ranges::sort(sorted);
  if (sorted != in_order) n.fail("perm is not a permutation of the input's axes");
  n.set(0, n.text.transpose(x, perm, n.id()));
}

void spell_squeeze(NodeWriter& n) {
  const Wire x = n.wire(0);
  const auto named = n.axes(1, x.extents ? std::optional(x.extents->size()) : std::nullopt);
  const std::vector<int64_t> axes = named ? *named : axes_of_ones(n, *n.ranked(0).extents);
  for (const int64_t axis : axes) {
    if (!x.extents) break;
    const Dim& extent = (*x.extents)[static_cast<size_t>(axis)];
    if (extent.constant() && !extent.is(1)) {
      n.fail(fmt::format("axis {} of {} is not 1", axis, to_string(*x.extents)));
    }
  }
  n.set(0, n.text.squeeze(x, axes, n.id()));
}

void spell_unsqueeze(NodeWriter& n) {
  const Wire x = n.wire(0);
  const size_t more = n.has(1) ? n.constants(1).size() : ints_attribute(n.node, "axes", {}).size();
  const auto axes = n.axes(1, x.extents ? std::optional(x.extents->size() + more) : std::nullopt);
  if (!axes) n.fail("axes are missing");
  n.set(0, n.text.unsqueeze(x, *axes, n.id()));
}

// Resolves 0 and -1 of the shape to extents, which may depend on free dimensions.
void spell_reshape(NodeWriter& n) {
  const Wire x = n.ranked(0);
  const auto shape = n.integers(1);
  if (!shape) n.fail("the shape must be constant");
  const bool zero_is_zero = int_attribute(n.node, "allowzero", 0) != 0;
  Extents to;
  std::optional<size_t> inferred;
  for (size_t i = 0; i < shape->values.size(); ++i) {
    const Dim& dim = shape->values[i];
    if (dim.is(0) && !zero_is_zero) {
      if (i >= x.extents->size()) n.fail("the shape copies an extent that the input does not have");
      to.push_back((*x.extents)[i]);
    } else if (dim.is(-1)) {
      if (inferred) n.fail("the shape has two extents of -1");
      inferred = i;
      to.emplace_back(1);
    } else {
      to.push_back(dim);
    }
  }
  if (inferred) {
    const auto quotient =
        exact_quotient(product(*x.extents, 0, x.extents->size()), product(to, 0, to.size()));
    to[*inferred] = quotient.value_or(Dim::unknown());
  }
  reshape(n, x, to);
}

void spell_flatten(NodeWriter& n) {
  const Wire x = n.ranked(0);
  const size_t rank = x.extents->size();
  const int64_t wanted = int_attribute(n.node, "axis", 1);
  const auto axis =
      wanted == static_cast<int64_t>(rank) ? rank : static_cast<size_t>(n.axis(wanted, rank));
  reshape(n, x, {product(*x.extents, 0, axis), product(*x.extents, axis, rank)});
}

void spell_slice(NodeWriter& n) {
  const Wire x = n.ranked(0);
  const size_t rank = x.extents->size();
  const bool by_attribute = n.inputs() == 1;  // before opset 10
  const Extents starts = by_attribute ? dims(ints_attribute(n.node, "starts", {})) : n.extents(1);
  const Extents ends = by_attribute ? dims(ints_attribute(n.node, "ends", {})) : n.extents(2);
  std::vector<int64_t> axes(starts.size()), steps(starts.size(), 1);
  std::iota(axes.begin(), axes.end(), 0);
  if (by_attribute) axes = ints_attribute(n.node, "axes", axes);
  if (n.has(3)) axes = n.constants(3);
  if (n.has(4)) steps = n.constants(4);
  if (ends.size() != starts.size() || axes.size() != starts.size() ||
      steps.size() != starts.size()) {
    n.fail("starts, ends, axes and steps differ in length");
  }
  std::vector<Cut> cuts;
  for (size_t i = 0; i < starts.size(); ++i) {
    const int64_t axis = n.axis(axes[i], rank);
    cuts.push_back(
        cut_of(n, axis, (*x.extents)[static_cast<size_t>(axis)], starts[i], ends[i], steps[i]));
  }
  slice(n, x, cuts);
}

void spell_split(NodeWriter& n) {
  const Wire x = n.ranked(0);
  const int64_t axis = n.axis(int_attribute(n.node, "axis", 0), x.extents->size());
  const auto extent = (*x.extents)[static_cast<size_t>(axis)].constant();
  if (!extent) n.fail("along a free dimension: bind it (--input-shape)");
  const auto count = static_cast<int64_t>(n.node.outputs.size());
  std::vector<int64_t> sizes = n.has(1) ? n.constants(1) : ints_attribute(n.node, "split", {});
  if (sizes.empty()) {
    const int64_t size = (*extent + count - 1) / count;
    for (int64_t i = 0; i < count; ++i) sizes.push_back(std::min(size, *extent - i * size));
  }
  if (static_cast<int64_t>(sizes.size()) != count) n.fail("expected one size per output");
  int64_t begin = 0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] < 1 || begin + sizes[i] > *extent) n.fail("its parts do not match the input");
    if (n.wants(i)) n.set(i, n.text.slice(x, axis, begin, begin + sizes[i], n.id(i)));
    begin += sizes[i];
  }
}

void spell_concat(NodeWriter& n) {
  if (n.inputs() == 0) n.fail("there are no inputs");
  std::vector<std::string> ids;
  std::optional<Extents> extents = n.wire(0).extents;
  const DType dtype = n.dtype(0);
  int64_t axis = int_attribute(n.node, "axis", 0);
  if (extents) axis = n.axis(axis, extents->size());
  for (size_t i = 0; i < n.inputs(); ++i) {
    const Wire x = n.wire(i);
    ids.push_back(x.id);
    if (!x.extents) extents.reset();
    if (i == 0 || !extents) continue;
    if (x.extents->size() != extents->size()) n.fail("inputs differ in rank");
    want_equal(n, *extents, *x.extents, static_cast<size_t>(axis));
    Dim& extent = (*extents)[static_cast<size_t>(axis)];
    extent = extent + (*x.extents)[static_cast<size_t>(axis)];
  }
  if (axis < 0) n.fail("the rank of an input is not known");
  n.set(fmt::format("concat([{}], axis = {})", fmt::join(ids, ", "), axis), extents, dtype);
}

// Pads per axis as pairs; nothing is written where all are 0.
void spell_pad(NodeWriter& n) {
  const Wire x = n.ranked(0);
  const size_t rank = x.extents->size();
  std::vector<int64_t> pads = n.has(1) ? n.constants(1) : ints_attribute(n.node, "pads", {});
  if (n.has(3)) {  // opset 18: only these axes
    const auto axes = n.axes(3, rank);
    std::vector<int64_t> given = n.constants(3), all(2 * rank, 0);
    if (pads.size() != 2 * given.size()) n.fail("pads and axes differ in length");
    for (size_t i = 0; i < given.size(); ++i) {
      const auto axis = static_cast<size_t>(n.axis(given[i], rank));
      all[axis] = pads[i];
      all[axis + rank] = pads[i + given.size()];
    }
    pads = all;
  }
  if (pads.size() != 2 * rank) n.fail(fmt::format("pads has {} values", pads.size()));
  const std::string mode = string_attribute(n.node, "mode", "constant");
  std::string border;
  if (mode == "constant") {
    border = "constant";
  } else if (mode == "reflect") {
    border = "reflect";
  } else if (mode == "edge") {
    border = n.is_standard_only() ? "replicate" : "replicated";  // the second is tract's
  } else {
    n.fail(fmt::format("mode '{}' is not supported", printable(mode)));
  }
  float value = float_attribute(n.node, "value", 0.0F);
  if (n.has(2)) {
    const auto constant = n.scalar(2);
    if (!constant) n.fail("the value must be a constant float");
    value = *constant;
  }
  Extents extents;
  std::vector<std::string> pairs;
  for (size_t i = 0; i < rank; ++i) {
    if (pads[i] < 0 || pads[i + rank] < 0) n.fail("negative pads are not supported");
    pairs.push_back(fmt::format("({}, {})", pads[i], pads[i + rank]));
    extents.push_back((*x.extents)[i] + Dim(pads[i]) + Dim(pads[i + rank]));
  }
  if (extents == *x.extents) return n.set(0, x);
  n.set(fmt::format("pad({}, padding = [{}], border = '{}'{})", x.id, fmt::join(pairs, ", "),
                    border, mode == "constant" ? ", value = " + literal(value) : ""),
        extents, x.dtype);
}

void spell_constant_of_shape(NodeWriter& n) {
  const auto shape = n.integers(0);
  if (!shape) n.fail("the shape must be constant");
  float value = 0.0F;
  if (const Attribute* attribute = find_attribute(n.node, "value")) {
    const auto* tensor = std::get_if<Tensor>(&attribute->value);
    if (tensor == nullptr || tensor->count() != 1 || tensor->dtype() != DType::kF32) {
      n.fail("value must be one f32");
    }
    value = to_f32(*tensor)[0];
  }
  n.set(
      fmt::format("tract_core_broadcast({}, shape = {})", literal(value), n.spelled(shape->values)),
      shape->values, DType::kF32);
}

void spell_expand(NodeWriter& n) {
  const auto shape = n.integers(1);
  if (!shape) n.fail("the shape must be constant");
  Wire x = n.ranked(0);
  const size_t rank = std::max(x.extents->size(), shape->values.size());
  x = n.raised(x, rank);
  Extents extents = *x.extents;
  const size_t skipped = rank - shape->values.size();
  for (size_t i = 0; i < shape->values.size(); ++i) {
    Dim& extent = extents[skipped + i];
    if (!shape->values[i].is(1)) extent = shape->values[i];
  }
  if (extents == *x.extents) return n.set(0, x);
  n.set(fmt::format("tract_core_broadcast({}, shape = {})", x.id, n.spelled(extents)), extents,
        x.dtype);
}

void spell_tile(NodeWriter& n) {
  const Wire x = n.ranked(0);
  const Extents repeats = n.extents(1);
  if (repeats.size() != x.extents->size()) n.fail("repeats has a length that differs from the rank");
  Extents extents = *x.extents;
  for (size_t i = 0; i < repeats.size(); ++i) {
    const std::optional<int64_t> times = repeats[i].constant();
    if (times && *times < 1) n.fail(fmt::format("{} repeats are not supported", *times));
    if (!times) n.need_tract();
    extents[i] = extents[i] * repeats[i];
  }
  if (extents == *x.extents) return n.set(0, x);
  n.set(fmt::format("tile({}, repeats = {})", x.id, n.spelled(repeats)), extents, x.dtype);
}

// Integers alone: their bounds may depend on free dimensions.
void spell_range(NodeWriter& n) {
  std::array<Dim, 3> bounds;
  DType dtype = DType::kI64;
  for (size_t i = 0; i < bounds.size(); ++i) {
    const std::optional<Integers> one = n.integers(i);
    if (!one || one->values.size() != 1) n.fail("bounds that the graph computes");
    bounds[i] = one->values[0];
    dtype = one->dtype;
  }
  const std::optional<int64_t> step = bounds[2].constant();
  if (!step || *step == 0) n.fail("the step must be a constant other than 0");
  Dim count = Dim::unknown();
  const Dim span = bounds[1] - bounds[0];
  if (*step == 1) count = span;
  if (const std::optional<int64_t> known = span.constant()) {
    const int64_t steps = (*known + *step + (*step > 0 ? -1 : 1)) / *step;
    count = Dim(std::max<int64_t>(steps, 0));
  }
  const auto bound = [&](const Dim& dim) {
    const std::string text = n.spelled({dim});
    return text.substr(1, text.size() - 2);
  };
  n.set(fmt::format("tract_core_cast(tract_core_range({}, {}, step = {}), to = '{}')",
                    bound(bounds[0]), bound(bounds[1]), *step, name_of(dtype)),
        Extents{count}, dtype);
}

namespace {

int64_t block_size(NodeWriter& n) {
  const int64_t size = int_attribute(n.node, "blocksize", 0);
  constexpr int64_t kMaxSize = 1 << 16;
  if (size < 1 || size > kMaxSize) n.fail(fmt::format("blocksize {}", size));
  return size;
}

// The extent of one axis as two: [outer, inner], inner a number.
Wire split_axis(NodeWriter& n, const Wire& x, size_t axis, int64_t inner) {
  const auto outer = exact_quotient((*x.extents)[axis], Dim(inner));
  if (!outer)
    n.fail(fmt::format("extent {} of axis {} is not known to be a multiple of {}",
                       to_string({(*x.extents)[axis]}), axis, inner));
  Extents extents = *x.extents;
  extents[axis] = *outer;
  extents.insert(extents.begin() + static_cast<ptrdiff_t>(axis) + 1, Dim(inner));
  return n.step("split",
                fmt::format("reshape({}, shape = [{}, {}], axis_start = {}, axis_count = 1)", x.id,
                            outer->constant().value_or(-1), inner, axis),
                extents, x.dtype);
}

}  // namespace

// DCR: channels are [block row, block column, C]; CRD: [C, block row, block column].
void spell_depth_to_space(NodeWriter& n) {
  const int64_t block = block_size(n);
  const std::string mode = string_attribute(n.node, "mode", "DCR");
  if (mode != "DCR" && mode != "CRD") n.fail(fmt::format("mode '{}'", printable(mode)));
  const Wire x = n.ranked(0);
  if (x.extents->size() != 4) n.fail("the input must be [N, C, H, W]");
  const auto channels = (*x.extents)[1].constant();
  if (!channels || *channels % (block * block) != 0) n.fail("the channels do not fit blocksize");
  const int64_t left = *channels / (block * block);
  const auto& e = *x.extents;
  const bool dcr = mode == "DCR";
  const std::vector<int64_t> parts =
      dcr ? std::vector<int64_t>{block, block, left} : std::vector<int64_t>{left, block, block};
  const Wire apart = n.step(
      "apart",
      fmt::format("reshape({}, shape = {}, axis_start = 1, axis_count = 1)", x.id, list(parts)),
      Extents{e[0], parts[0], parts[1], parts[2], e[2], e[3]}, x.dtype);
  const Wire moved = dcr ? n.text.transpose(apart, {0, 3, 4, 1, 5, 2})
                         : n.text.transpose(apart, {0, 1, 4, 2, 5, 3});
  n.set(0, merge_axes(n, merge_axes(n, moved, 2), 3, n.id()));
}

// Channels become [block row, block column, C].
void spell_space_to_depth(NodeWriter& n) {
  const int64_t block = block_size(n);
  const Wire x = n.ranked(0);
  if (x.extents->size() != 4) n.fail("the input must be [N, C, H, W]");
  const Wire apart = split_axis(n, split_axis(n, x, 3, block), 2, block);  // [N, C, H, b, W, b]
  const Wire moved = n.text.transpose(apart, {0, 3, 5, 1, 2, 4});
  n.set(0, merge_axes(n, merge_axes(n, moved, 1), 1, n.id()));
}

}  // namespace espalier::nnef
