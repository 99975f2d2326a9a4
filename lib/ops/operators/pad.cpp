// Pad: constant, reflect, edge, wrap.

#include <algorithm>
#include <numeric>

#include "lib/ops/op_util.h"

namespace espalier {
namespace {

enum class Mode { kConstant, kReflect, kEdge, kWrap };

Mode mode_of(const std::string& name) {
  if (name == "constant") return Mode::kConstant;
  if (name == "reflect") return Mode::kReflect;
  if (name == "edge") return Mode::kEdge;
  if (name == "wrap") return Mode::kWrap;
  unsupported("mode {} is not supported", printable(name));
}

// Begin and end pads of every axis; negative ones crop.
struct Pads {
  Dims begin, end;
};

// From the attribute (before opset 11) or input 1, for all axes or those that input 3 names.
Pads pads_of(RunContext& run, const std::optional<std::vector<int64_t>>& attribute) {
  const size_t rank = run.input(0).dims.rank();
  const std::span<const int64_t> given =
      attribute ? std::span<const int64_t>(*attribute) : long_ints_of(run, run.input(1));
  Dims axes;
  if (!attribute && run.has_input(3)) {
    axes = ints_of(run.input(3));
    axes_mask(axes, rank);
  } else {
    for (size_t i = 0; i < rank; ++i) axes.push_back(static_cast<int64_t>(i));
  }
  if (given.size() != 2 * axes.rank()) {
    fail("{} pads for {} axes", given.size(), axes.rank());
  }
  Pads pads;
  for (size_t i = 0; i < rank; ++i) {
    pads.begin.push_back(0);
    pads.end.push_back(0);
  }
  for (size_t i = 0; i < axes.rank(); ++i) {
    const size_t axis = axis_of(axes[i], rank);
    pads.begin[axis] = given[i];
    pads.end[axis] = given[axes.rank() + i];
  }
  return pads;
}

// Which input place output place `place` of an axis shows; `begin` is the pad before.
int64_t source(Mode mode, int64_t place, int64_t extent) {
  switch (mode) {
    case Mode::kEdge:
      return std::clamp(place, int64_t{0}, extent - 1);
    case Mode::kWrap:
      return ((place % extent) + extent) % extent;
    default: {
      const int64_t period = std::max<int64_t>(2 * (extent - 1), 1);
      const int64_t folded = ((place % period) + period) % period;
      return folded < extent ? folded : period - folded;
    }
  }
}

template <typename T>
void pad_by_source(const TensorView& x, const TensorView& y, const Pads& pads, Mode mode) {
  const size_t rank = x.dims.rank();
  const Strides from = row_major(x.dims);
  std::array<std::vector<ptrdiff_t>, Dims::kMaxRank> offset;  // per axis and output place
  for (size_t i = 0; i < rank; ++i) {
    for (int64_t place = 0; place < y.dims[i]; ++place) {
      offset[i].push_back(source(mode, place - pads.begin[i], x.dims[i]) * from[i]);
    }
  }
  const size_t inner = rank - 1, lines = y.dims.product(0, inner);
  const T* values = x.data<T>();
  T* to = y.data<T>();
  for (size_t line = 0; line < lines; ++line) {
    ptrdiff_t start = 0;
    size_t rest = line;
    for (size_t i = inner; i-- > 0;) {
      const auto extent = static_cast<size_t>(y.dims[i]);
      start += offset[i][rest % extent];
      rest /= extent;
    }
    for (const ptrdiff_t place : offset[inner]) *to++ = values[start + place];
  }
}

// The part of the input that stays, put into a field of `value`.
void pad_constant(const TensorView& x, const TensorView& y, const Pads& pads,
                  const std::byte* value) {
  const size_t width = bytes_in_view(x.dtype), rank = x.dims.rank();
  Strides still{};
  copy_strided(width, y.dims, value, still, y.bytes, row_major(y.dims));
  Dims kept;
  const Strides from = row_major(x.dims), to = row_major(y.dims);
  ptrdiff_t from_offset = 0, to_offset = 0;
  for (size_t i = 0; i < rank; ++i) {
    const int64_t crop_begin = std::max<int64_t>(-pads.begin[i], 0);
    const int64_t crop_end = std::max<int64_t>(-pads.end[i], 0);
    kept.push_back(std::max<int64_t>(x.dims[i] - crop_begin - crop_end, 0));
    from_offset += crop_begin * from[i];
    to_offset += std::max<int64_t>(pads.begin[i], 0) * to[i];
  }
  if (kept.count() == 0) return;
  const auto bytes = static_cast<ptrdiff_t>(width);
  copy_strided(width, kept, x.bytes + from_offset * bytes, from, y.bytes + to_offset * bytes, to);
}

// Computes the output's extents, finds the value of mode constant in its type (attribute or input
// 2), and fills the output; nothing to pad: an alias.
Run prepare_pad(const PrepareContext& context) {
  const Mode mode = mode_of(string_attribute(context.node, "mode", "constant"));
  std::optional<std::vector<int64_t>> attribute;
  if (find_attribute(context.node, "pads") != nullptr) {
    attribute = ints_attribute(context.node, "pads", {});
  }
  const float value_attribute = float_attribute(context.node, "value", 0);
  return [mode, attribute, value_attribute](RunContext& run) {
    const TensorView& x = run.input(0);
    const Pads pads = pads_of(run, attribute);
    constexpr int64_t kLimit = int64_t{1} << 48;
    Dims dims;
    bool same = true;
    for (size_t i = 0; i < x.dims.rank(); ++i) {
      const int64_t begin = pads.begin[i], end = pads.end[i];
      const bool sane = std::abs(begin) <= kLimit && std::abs(end) <= kLimit;
      if (!sane || x.dims[i] + begin + end < 0) {
        fail("pads {} and {} of an axis {} long", begin, end, x.dims[i]);
      }
      if (mode != Mode::kConstant && x.dims[i] == 0 && begin + end > 0)
        fail("there is no element to repeat");
      if (begin != 0 || end != 0) same = false;
      dims.push_back(x.dims[i] + begin + end);
    }
    if (same) return run.alias(0, 0, dims);
    const TensorView y = run.output(0, x.dtype, dims);
    if (y.count() == 0) return;
    if (mode == Mode::kConstant) {
      std::array<std::byte, 16> value{};
      if (!attribute && run.has_input(2) && run.input(2).count() != 0) {
        if (run.input(2).dtype != x.dtype) fail("the value is of another type than the input");
        std::copy_n(run.input(2).bytes, bytes_in_view(x.dtype), value.begin());
      } else if (attribute && x.dtype == DType::kF32) {
        std::memcpy(value.data(), &value_attribute, sizeof(float));
      } else if (attribute && value_attribute != 0) {
        unsupported_type(x.dtype);
      }
      return pad_constant(x, y, pads, value.data());
    }
    switch (bytes_in_view(x.dtype)) {
      case 1:
        return pad_by_source<uint8_t>(x, y, pads, mode);
      case 2:
        return pad_by_source<uint16_t>(x, y, pads, mode);
      case 4:
        return pad_by_source<uint32_t>(x, y, pads, mode);
      default:
        return pad_by_source<uint64_t>(x, y, pads, mode);
    }
  };
}

}  // namespace

constinit const Operator pad_operator{.name = "Pad", .prepare = prepare_pad};

}  // namespace espalier
