#include "lib/ops/window.h"

#include <algorithm>

#include "lib/base/checked_math.h"
#include "lib/ops/op_util.h"

namespace espalier {
namespace {

// Far above every real window, and small enough that sums and products of a few do not overflow.
constexpr int64_t kLimit = int64_t{1} << 24;

std::vector<int64_t> list_of(const Node& node, const char* name, int64_t least) {
  std::vector<int64_t> values = ints_attribute(node, name, {});
  for (const int64_t value : values) {
    if (value < least || value > kLimit) {
      fail("{} holds {}, expected {} to {}", name, value, least, kLimit);
    }
  }
  return values;
}

AutoPad auto_pad_of(const Node& node) {
  const std::string name = string_attribute(node, "auto_pad", "NOTSET");
  if (name == "NOTSET" || name.empty()) return AutoPad::kNone;
  if (name == "SAME_UPPER") return AutoPad::kSameUpper;
  if (name == "SAME_LOWER") return AutoPad::kSameLower;
  if (name == "VALID") return AutoPad::kValid;
  unsupported("auto_pad {} is not supported", printable(name));
}

size_t value_at(const std::vector<int64_t>& values, size_t at, size_t wanted, const char* name,
                size_t fallback) {
  if (values.empty()) return fallback;
  if (values.size() != wanted) fail("{} has {} values, expected {}", name, values.size(), wanted);
  return static_cast<size_t>(values[at]);
}

}  // namespace

WindowAttributes::WindowAttributes(const Node& node)
    : kernel(list_of(node, "kernel_shape", 1)),
      strides(list_of(node, "strides", 1)),
      dilations(list_of(node, "dilations", 1)),
      pads(list_of(node, "pads", 0)),
      auto_pad(auto_pad_of(node)),
      ceil(int_attribute(node, "ceil_mode", 0) != 0) {}

WindowAxis WindowAttributes::resolve(size_t axis, size_t count, size_t extent,
                                     size_t kernel_places) const {
  WindowAxis w;
  w.input = extent;
  w.kernel = kernel_places;
  if (w.kernel < 1 || w.kernel > static_cast<size_t>(kLimit))
    fail("a window of length {}", w.kernel);
  w.stride = value_at(strides, axis, count, "strides", 1);
  w.dilation = value_at(dilations, axis, count, "dilations", 1);
  if (auto_pad == AutoPad::kSameUpper || auto_pad == AutoPad::kSameLower) {
    w.output = ceil_div(extent, w.stride);
    const size_t reach = w.output == 0 ? 0 : (w.output - 1) * w.stride + w.span();
    const size_t pad = reach > extent ? reach - extent : 0;
    w.pad_begin = auto_pad == AutoPad::kSameUpper ? pad / 2 : pad - pad / 2;
    w.pad_end = pad - w.pad_begin;
    return w;
  }
  if (auto_pad == AutoPad::kNone) {
    w.pad_begin = value_at(pads, axis, 2 * count, "pads", 0);
    w.pad_end = value_at(pads, count + axis, 2 * count, "pads", 0);
  }
  const size_t padded = extent + w.pad_begin + w.pad_end;
  if (padded < w.span()) fail("a window of length {} over {} positions", w.span(), padded);
  const size_t room = padded - w.span();
  w.output = (ceil ? ceil_div(room, w.stride) : room / w.stride) + 1;
  // The last window starts inside the input or its front pad.
  if (ceil && (w.output - 1) * w.stride >= extent + w.pad_begin) --w.output;
  return w;
}

}  // namespace espalier
