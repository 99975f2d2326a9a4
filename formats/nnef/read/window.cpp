#include "formats/nnef/read/window.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

constexpr int64_t kLargest = int64_t{1} << 31;

// One value per spatial axis; those in front, for batch and channels, must be 1.
std::vector<int64_t> per_axis(const Call& call, std::string_view name, size_t axes,
                              size_t leading) {
  std::vector<int64_t> given = call.integers(name);
  if (given.empty()) return std::vector<int64_t>(axes, 1);
  if (given.size() != axes + leading) {
    call.fail(fmt::format("{} has {} values, expected {}", name, given.size(), axes + leading));
  }
  for (const int64_t value : given) {
    if (value < 1 || value > kLargest) call.fail(fmt::format("{} of {}", name, value));
  }
  if (std::any_of(given.begin(), given.begin() + static_cast<ptrdiff_t>(leading),
                  [](int64_t value) { return value != 1; })) {
    throw NotTranslated{};
  }
  given.erase(given.begin(), given.begin() + static_cast<ptrdiff_t>(leading));
  return given;
}

// padding = []: as many outputs as strides fit into the input; what is odd goes to the end.
void pad_like_same(Window& window, const Shape& input) {
  for (size_t i = 0; i < window.kernel.size(); ++i) {
    const int64_t extent = input[i + 2], stride = window.strides[i];
    if (extent < 0 && stride != 1) {
      window.pads_like_same = true;
      continue;
    }
    const int64_t left_over = extent < 0 ? 0 : (extent - 1) / stride * stride - (extent - 1);
    const int64_t total = std::max<int64_t>(window.reach(i) - 1 + left_over, 0);
    window.before[i] = total / 2;
    window.after[i] = total - total / 2;
  }
}

}  // namespace

bool Window::is_unpadded() const {
  const auto zero = [](int64_t pad) { return pad == 0; };
  return !pads_like_same && std::ranges::all_of(before, zero) && std::ranges::all_of(after, zero);
}

int64_t Window::output_extent(size_t axis, int64_t extent) const {
  if (extent < 0) return -1;
  const int64_t room = extent + before[axis] + after[axis] - reach(axis);
  return room < 0 ? 0 : room / strides[axis] + 1;
}

int64_t Window::input_extent(size_t axis, int64_t extent) const {
  if (extent < 1 || extent > kLargest) return -1;
  return std::max<int64_t>((extent - 1) * strides[axis] + reach(axis) - before[axis] - after[axis],
                           0);
}

std::vector<Attribute> Window::attributes() const {
  std::vector<Attribute> result = {attribute("kernel_shape", kernel), attribute("strides", strides),
                                   attribute("dilations", dilations)};
  if (pads_like_same) {
    result.push_back(attribute("auto_pad", std::string("SAME_UPPER")));
  } else {
    std::vector<int64_t> pads = before;
    pads.insert(pads.end(), after.begin(), after.end());
    result.push_back(attribute("pads", std::move(pads)));
  }
  return result;
}

// Kernel, stride, dilation and padding per axis; the `leading` axes (batch, channels) must be
// trivial.
Window window_of(const Call& call, const Shape& input, std::vector<int64_t> kernel,
                 size_t leading) {
  const size_t axes = kernel.size();
  Window window;
  window.kernel = std::move(kernel);
  for (const int64_t extent : window.kernel) {
    if (extent < 1 || extent > kLargest) call.fail(fmt::format("a kernel extent of {}", extent));
  }
  window.strides = per_axis(call, "stride", axes, leading);
  window.dilations = per_axis(call, "dilation", axes, leading);
  window.before.assign(axes, 0);
  window.after.assign(axes, 0);
  const auto padding = call.pairs("padding");
  if (padding.empty()) {
    pad_like_same(window, input);
    return window;
  }
  if (padding.size() != axes + leading) {
    call.fail(fmt::format("padding has {} pairs, expected {}", padding.size(), axes + leading));
  }
  for (size_t i = 0; i < padding.size(); ++i) {
    const auto [before, after] = padding[i];
    if (before < 0 || after < 0 || before > kLargest || after > kLargest) {
      call.fail(fmt::format("padding ({}, {})", before, after));
    }
    if (i < leading) {
      if (before != 0 || after != 0) throw NotTranslated{};
      continue;
    }
    window.before[i - leading] = before;
    window.after[i - leading] = after;
  }
  return window;
}

// Padding of a transposed window so that output_shape, or the extent times the stride, comes out.
// Gives what ONNX calls output_padding.
std::vector<int64_t> pad_transposed(const Call& call, Window& window, const Shape& from) {
  const size_t axes = window.kernel.size();
  std::vector<int64_t> outputs = call.integers("output_shape"), more(axes, 0);
  if (outputs.size() == axes + 2) outputs.erase(outputs.begin(), outputs.begin() + 2);
  if (!outputs.empty() && outputs.size() != axes) {  // tract leaves batch and channels out
    call.fail(fmt::format("output_shape has {} values", outputs.size()));
  }
  const bool same = call.pairs("padding").empty();
  window.pads_like_same = false;
  for (size_t i = 0; i < axes; ++i) {
    const int64_t extent = from[i + 2];
    int64_t cut = window.reach(i) - window.strides[i];  // of what the strides alone would give
    if (!outputs.empty()) {
      if (extent < 0) throw NotTranslated{};
      cut = window.whole_extent(i, extent) - outputs[i];
    } else if (!same) {
      continue;
    }
    if (same) {
      window.before[i] = std::max<int64_t>(cut, 0) / 2;
      window.after[i] = std::max<int64_t>(cut, 0) - window.before[i];
    }
    more[i] = window.before[i] + window.after[i] - cut;
    if (more[i] < 0 || more[i] >= std::max(window.strides[i], window.dilations[i])) {
      call.fail(fmt::format("output_shape {} does not fit input {}", to_string(outputs),
                            to_string(from)));
    }
  }
  return more;
}

}  // namespace espalier::nnef
