// Convolution and pooling.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "formats/nnef/write/operators.h"

namespace espalier::nnef {
namespace {

// The window of a convolution or pooling over the spatial axes, the second half of `pads` at the
// end of each axis.
struct Window {
  std::vector<int64_t> kernel, strides, dilations;
  std::vector<int64_t> before, after;
};

std::vector<int64_t> per_axis(NodeWriter& n, std::string_view name, size_t axes, int64_t fallback) {
  std::vector<int64_t> values = ints_attribute(n.node, name, std::vector<int64_t>(axes, fallback));
  if (values.size() != axes) {
    n.fail(fmt::format("{} has {} values for {} spatial axes", name, values.size(), axes));
  }
  const bool positive = std::ranges::all_of(values, [](int64_t v) { return v > 0; });
  if (!positive) n.fail(fmt::format("{} must be positive", name));
  constexpr int64_t kLargest = int64_t{1} << 31;
  if (std::ranges::any_of(values, [](int64_t v) { return v > kLargest; })) {
    n.fail(fmt::format("{} is too large", name));
  }
  return values;
}

int64_t reach(const Window& window, size_t axis) {
  return window.dilations[axis] * (window.kernel[axis] - 1) + 1;
}

// Padding by auto_pad; SAME_* depends on the extent where the stride is not 1.
void pad_same(NodeWriter& n, Window& window, const Extents& extents, bool lower) {
  for (size_t i = 0; i < window.kernel.size(); ++i) {
    int64_t total = reach(window, i) - 1;
    if (window.strides[i] != 1) {
      const auto extent = extents[i + 2].constant();
      if (!extent) {
        n.fail("auto_pad with a stride over a free dimension: bind it (--input-shape)");
      }
      const int64_t outputs = (*extent + window.strides[i] - 1) / window.strides[i];
      total = std::max<int64_t>(0, (outputs - 1) * window.strides[i] + reach(window, i) - *extent);
    }
    const int64_t small = total / 2;
    window.before.push_back(lower ? total - small : small);
    window.after.push_back(lower ? small : total - small);
  }
}

// Kernel, strides, dilations and pads per axis, with auto_pad resolved.
Window window_of(NodeWriter& n, const Extents& extents, std::vector<int64_t> kernel) {
  const size_t axes = kernel.size();
  Window window;
  window.kernel = std::move(kernel);
  window.strides = per_axis(n, "strides", axes, 1);
  window.dilations = per_axis(n, "dilations", axes, 1);
  const std::string mode = string_attribute(n.node, "auto_pad", "NOTSET");
  if (mode == "SAME_UPPER" || mode == "SAME_LOWER") {
    pad_same(n, window, extents, mode == "SAME_LOWER");
    return window;
  }
  std::vector<int64_t> pads(2 * axes, 0);
  if (mode == "NOTSET") {
    pads = ints_attribute(n.node, "pads", pads);
  } else if (mode != "VALID") {
    n.fail(fmt::format("auto_pad '{}' is not supported", printable(mode)));
  }
  if (pads.size() != 2 * axes) n.fail(fmt::format("pads has {} values", pads.size()));
  if (std::ranges::any_of(pads, [](int64_t pad) { return pad < 0; })) {
    n.fail("negative pads are not supported");
  }
  window.before.assign(pads.begin(), pads.begin() + static_cast<ptrdiff_t>(axes));
  window.after.assign(pads.begin() + static_cast<ptrdiff_t>(axes), pads.end());
  return window;
}

Dim output_extent(const Window& window, size_t axis, const Dim& extent) {
  const Dim room =
      extent + Dim(window.before[axis]) + Dim(window.after[axis]) - Dim(reach(window, axis));
  return floor_quotient(room, window.strides[axis]) + Dim(1);
}

// ceil_mode: more padding at the end so that the last, partial window is whole. A window that would
// start in the padding at the end is left out, as ONNX does.
void round_up(NodeWriter& n, Window& window, const Extents& extents) {
  for (size_t i = 0; i < window.kernel.size(); ++i) {
    const auto extent = extents[i + 2].constant();
    if (!extent) n.fail("ceil_mode over a free dimension: bind it (--input-shape)");
    const int64_t room = *extent + window.before[i] + window.after[i] - reach(window, i);
    if (room < 0) continue;
    const int64_t stride = window.strides[i];
    const int64_t last = (room + stride - 1) / stride * stride;  // where the last window starts
    if (last == room || last >= *extent + window.before[i]) continue;
    window.after[i] += last - room;
  }
}

std::string pairs(const std::vector<int64_t>& before, const std::vector<int64_t>& after,
                  size_t leading) {
  std::vector<std::string> items(leading, "(0, 0)");
  for (size_t i = 0; i < before.size(); ++i) {
    items.push_back(fmt::format("({}, {})", before[i], after[i]));
  }
  return fmt::format("[{}]", fmt::join(items, ", "));
}

// Values for batch and channels, then those of the spatial axes.
std::string with_leading_ones(const std::vector<int64_t>& values) {
  std::vector<int64_t> all{1, 1};
  all.insert(all.end(), values.begin(), values.end());
  return list(all);
}

}  // namespace

void spell_conv(NodeWriter& n) {
  const Wire x = n.ranked(0), w = n.ranked(1);
  const size_t rank = x.extents->size();
  if (rank < 3 || w.extents->size() != rank) n.fail("input and filter must be [N, C, spatial...]");
  std::vector<int64_t> kernel;
  for (size_t i = 2; i < rank; ++i) {
    const auto extent = (*w.extents)[i].constant();
    if (!extent || *extent < 1) n.fail("the filter's shape must be known");
    kernel.push_back(*extent);
  }
  const Window window = window_of(n, *x.extents, kernel);
  Extents extents{(*x.extents)[0], (*w.extents)[0]};
  for (size_t i = 0; i < kernel.size(); ++i) {
    extents.push_back(output_extent(window, i, (*x.extents)[i + 2]));
  }
  std::string bias;
  if (n.has(2)) bias = ", " + n.raised(n.ranked(2), 2).id;
  n.set(fmt::format("conv({}, {}{}, border = 'constant', padding = {}, stride = {}, dilation = {}, "
                    "groups = {})",
                    x.id, w.id, bias, pairs(window.before, window.after, 0), list(window.strides),
                    list(window.dilations), int_attribute(n.node, "group", 1)),
        extents, x.dtype);
}

namespace {

// Padding of a transposed convolution and its output, per spatial axis.
struct Transposed {
  Window window;
  std::vector<int64_t> more;  // output_padding
  Extents outputs;
};

// As window_of, with output_shape and output_padding resolved to pads and extents.
Transposed transposed_of(NodeWriter& n, const Extents& extents, std::vector<int64_t> kernel) {
  const size_t axes = kernel.size();
  Transposed t;
  Window& w = t.window;
  w.kernel = std::move(kernel);
  w.strides = per_axis(n, "strides", axes, 1);
  w.dilations = per_axis(n, "dilations", axes, 1);
  t.more = ints_attribute(n.node, "output_padding", std::vector<int64_t>(axes, 0));
  const std::string mode = string_attribute(n.node, "auto_pad", "NOTSET");
  const bool same = mode == "SAME_UPPER" || mode == "SAME_LOWER";
  if (!same && mode != "NOTSET" && mode != "VALID") {
    n.fail(fmt::format("auto_pad '{}' is not supported", printable(mode)));
  }
  const std::vector<int64_t> shape = ints_attribute(n.node, "output_shape", {});
  std::vector<int64_t> pads(2 * axes, 0);
  if (mode == "NOTSET" && shape.empty()) pads = ints_attribute(n.node, "pads", pads);
  if (pads.size() != 2 * axes || t.more.size() != axes ||
      (!shape.empty() && shape.size() != axes)) {
    n.fail("pads, output_padding or output_shape has the wrong number of values");
  }
  for (size_t i = 0; i < axes; ++i) {
    const Dim& extent = extents[i + 2];
    const Dim whole = (extent - Dim(1)) * Dim(w.strides[i]) + Dim(reach(w, i)) + Dim(t.more[i]);
    if (!shape.empty() || same) {
      const Dim output = shape.empty() ? extent * Dim(w.strides[i]) : Dim(shape[i]);
      const auto total = (whole - output).constant();
      if (!total) n.fail("output_shape over a free dimension: bind it (--input-shape)");
      const int64_t small = *total / 2;
      pads[i] = mode == "SAME_UPPER" ? small : *total - small;
      pads[i + axes] = *total - pads[i];
    }
    if (pads[i] < 0 || pads[i + axes] < 0 || t.more[i] < 0) {
      n.fail("negative padding is not supported");
    }
    w.before.push_back(pads[i]);
    w.after.push_back(pads[i + axes]);
    t.outputs.push_back(whole - Dim(pads[i] + pads[i + axes]));
  }
  return t;
}

// ONNX and NNEF have filters of [inputs, outputs / groups, ...] here, tract [outputs, inputs /
// groups, ...], as it has for a convolution.
Wire as_tract_filter(NodeWriter& n, const Wire& filter, int64_t groups) {
  n.need_tract();
  std::vector<int64_t> axes(filter.extents->size());
  std::iota(axes.begin(), axes.end(), 0);
  if (groups == 1) {
    std::swap(axes[0], axes[1]);
    return n.text.transpose(filter, axes);
  }
  Extents extents = *filter.extents;
  const auto inputs = extents[0].constant();
  if (groups < 1 || !inputs || *inputs % groups != 0) n.fail("group does not fit the filter");
  extents[0] = Dim(*inputs / groups);
  extents.insert(extents.begin(), Dim(groups));
  Wire apart = n.step("filter",
                      fmt::format("reshape({}, shape = [{}, {}], axis_start = 0, axis_count = 1)",
                                  filter.id, groups, *inputs / groups),
                      extents, filter.dtype);
  axes.push_back(static_cast<int64_t>(axes.size()));
  std::swap(axes[1], axes[2]);
  return merge_axes(n, n.text.transpose(apart, axes), 0);
}

}  // namespace

// deconv with the filter as NNEF has it; output_padding becomes output_shape.
void spell_conv_transpose(NodeWriter& n) {
  const Wire x = n.ranked(0), w = n.ranked(1);
  const size_t rank = x.extents->size();
  if (rank < 3 || w.extents->size() != rank) n.fail("input and filter must be [N, C, spatial...]");
  std::vector<int64_t> kernel;
  for (size_t i = 2; i < rank; ++i) {
    const auto extent = (*w.extents)[i].constant();
    if (!extent || *extent < 1) n.fail("the filter's shape must be known");
    kernel.push_back(*extent);
  }
  const Transposed t = transposed_of(n, *x.extents, kernel);
  const int64_t groups = int_attribute(n.node, "group", 1);
  const std::string filter = n.is_standard_only() ? w.id : as_tract_filter(n, w, groups).id;
  const std::string bias = n.has(2) ? ", " + n.raised(n.ranked(2), 2).id : "";
  std::string shape;
  if (std::ranges::any_of(t.more, [](int64_t more) { return more != 0; })) {
    std::vector<int64_t> outputs;
    for (const Dim& output : t.outputs) {
      if (!output.constant())
        n.fail("output_padding over a free dimension: bind it (--input-shape)");
      outputs.push_back(*output.constant());
    }
    if (n.is_standard_only()) {
      outputs.insert(outputs.begin(), (*w.extents)[1].constant().value_or(0) * groups);
      outputs.insert(outputs.begin(), (*x.extents)[0].constant().value_or(0));
    }
    shape = ", output_shape = " + list(outputs);
  }
  Extents extents{(*x.extents)[0], (*w.extents)[1] * Dim(groups)};
  extents.insert(extents.end(), t.outputs.begin(), t.outputs.end());
  n.set(fmt::format("deconv({}, {}{}, border = 'constant', padding = {}, stride = {}, dilation = "
                    "{}, groups = {}{})",
                    x.id, filter, bias, pairs(t.window.before, t.window.after, 0),
                    list(t.window.strides), list(t.window.dilations), groups, shape),
        extents, x.dtype);
}

// max_pool or avg_pool over the spatial axes, with windows of 1 over batch and channels.
void spell_pool(NodeWriter& n) {
  if (n.wants(1)) n.fail("output Indices is not supported");
  const bool is_max = n.node.op == "MaxPool";
  const Wire x = n.ranked(0);
  const size_t rank = x.extents->size();
  if (rank < 3) n.fail("the input must be [N, C, spatial...]");
  if (find_attribute(n.node, "kernel_shape") == nullptr) n.fail("kernel_shape is missing");
  Window window = window_of(n, *x.extents, per_axis(n, "kernel_shape", rank - 2, 1));
  const bool counts_padding = int_attribute(n.node, "count_include_pad", 0) != 0;
  if (int_attribute(n.node, "ceil_mode", 0) != 0) {
    const std::vector<int64_t> after = window.after;
    round_up(n, window, *x.extents);
    if (counts_padding && after != window.after) {
      n.fail("ceil_mode together with count_include_pad is not supported");
    }
  }
  Extents extents{(*x.extents)[0], (*x.extents)[1]};
  for (size_t i = 0; i + 2 < rank; ++i) {
    extents.push_back(output_extent(window, i, (*x.extents)[i + 2]));
  }
  n.set(fmt::format("{}({}, size = {}, border = '{}', padding = {}, stride = {}, dilation = {})",
                    is_max ? "max_pool" : "avg_pool", x.id, with_leading_ones(window.kernel),
                    counts_padding ? "constant" : "ignore", pairs(window.before, window.after, 2),
                    with_leading_ones(window.strides), with_leading_ones(window.dilations)),
        extents, x.dtype);
}

void spell_global_pool(NodeWriter& n) {
  const Wire x = n.ranked(0);
  Extents extents = *x.extents;
  std::vector<int64_t> axes;
  for (size_t i = 2; i < extents.size(); ++i) {
    axes.push_back(static_cast<int64_t>(i));
    extents[i] = Dim(1);
  }
  n.set(fmt::format("{}({}, axes = {})",
                    n.node.op == "GlobalMaxPool" ? "max_reduce" : "mean_reduce", x.id, list(axes)),
        extents, x.dtype);
}

}  // namespace espalier::nnef
