// Resize and Upsample: along one axis after the other, each output place a weighted sum of input
// places.

#include <algorithm>
#include <cmath>

#include "lib/ops/op_util.h"

namespace espalier {
namespace {

enum class Mode { kNearest, kLinear, kCubic };

// The part of an axis that tf_crop_and_resize takes, in shares of its length.
struct Crop {
  double start = 0, end = 1;
};

struct Attributes {
  Mode mode = Mode::kNearest;
  std::string coordinates, rounding;
  float cubic = -0.75F, extrapolation = 0;
  bool exclude_outside = false, antialias = false;

  // Reads the attributes of Resize and Upsample with the defaults of the opset, and refuses modes
  // that are not known.
  explicit Attributes(const PrepareContext& context) {
    const Node& node = context.node;
    const std::string name = string_attribute(node, "mode", "nearest");
    if (name == "linear" || name == "bilinear") {
      mode = Mode::kLinear;
    } else if (name == "cubic") {
      mode = Mode::kCubic;
    } else if (name != "nearest") {
      unsupported("mode {} is not supported", printable(name));
    }
    // Before opset 11: scaled coordinates, rounded down.
    const bool old = context.opset < 11 || node.op == "Upsample";
    coordinates =
        string_attribute(node, "coordinate_transformation_mode", old ? "asymmetric" : "half_pixel");
    rounding = string_attribute(node, "nearest_mode", old ? "floor" : "round_prefer_floor");
    cubic = float_attribute(node, "cubic_coeff_a", -0.75F);
    exclude_outside = int_attribute(node, "exclude_outside", 0) != 0;
    antialias = int_attribute(node, "antialias", 0) != 0;
    extrapolation = float_attribute(node, "extrapolation_value", 0);
    for (const char* known : {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel",
                              "align_corners", "asymmetric", "tf_crop_and_resize"}) {
      if (coordinates == known) return;
    }
    unsupported("coordinate_transformation_mode {} is not supported", printable(coordinates));
  }

  bool crops() const { return coordinates == "tf_crop_and_resize"; }

  double source(double place, double scale, double input, double output, Crop crop) const {
    if (crops()) {
      const double length = (crop.end - crop.start) * (input - 1);
      return crop.start * (input - 1) + (output == 1 ? length / 2 : place * length / (output - 1));
    }
    if (coordinates == "align_corners") {
      return output == 1 ? 0 : place * (input - 1) / (output - 1);
    }
    if (coordinates == "asymmetric") return place / scale;
    if (coordinates == "pytorch_half_pixel" && output <= 1) return 0;
    if (coordinates == "half_pixel_symmetric") {
      const double adjusted = output / (scale * input);
      const double center = input / 2;
      return center * (1 - adjusted) + (place + 0.5) / scale - 0.5;
    }
    return (place + 0.5) / scale - 0.5;
  }

  int64_t nearest(double place) const {
    if (rounding == "floor") return static_cast<int64_t>(std::floor(place));
    if (rounding == "ceil") return static_cast<int64_t>(std::ceil(place));
    const double low = std::floor(place);
    const bool half = place - low == 0.5;
    if (rounding == "round_prefer_floor") {
      return static_cast<int64_t>(half ? low : std::floor(place + 0.5));
    }
    if (rounding == "round_prefer_ceil") return static_cast<int64_t>(std::floor(place + 0.5));
    unsupported("nearest_mode {} is not supported", printable(rounding));
  }
};

// The input places that an output place of one axis sums, and with which weights.
struct Tap {
  size_t place;
  float weight;
};
struct Table {
  size_t per_place = 1;
  std::vector<Tap> taps;
  std::vector<bool> outside;  // per place, where some are taken from outside the input; else empty
};

// Filters at distance `d` of a place.
double cubic_weight(double d, double a) {
  d = std::fabs(d);
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}
double linear_weight(double d) { return std::max(1 - std::fabs(d), 0.0); }

// Shrinking with antialias: the filter is as much wider as the axis shrinks, and sums to 1.
void add_wide(const Attributes& attributes, double source, double scale, size_t input,
              Table& table) {
  const double reach = (attributes.mode == Mode::kCubic ? 2 : 1) / scale;
  const auto last = static_cast<int64_t>(input) - 1;
  const auto first = static_cast<int64_t>(std::ceil(source - reach));
  std::vector<double> weights(table.per_place, 0.0);
  double sum = 0;
  for (size_t k = 0; k < weights.size(); ++k) {
    const int64_t place = first + static_cast<int64_t>(k);
    const double distance = (static_cast<double>(place) - source) * scale;
    if (attributes.exclude_outside && (place < 0 || place > last)) continue;
    weights[k] = attributes.mode == Mode::kCubic ? cubic_weight(distance, attributes.cubic)
                                                 : linear_weight(distance);
    sum += weights[k];
  }
  for (size_t k = 0; k < weights.size(); ++k) {
    const int64_t place = std::clamp(first + static_cast<int64_t>(k), int64_t{0}, last);
    table.taps.push_back(
        {static_cast<size_t>(place), static_cast<float>(sum == 0 ? weights[k] : weights[k] / sum)});
  }
}

void add_cubic(const Attributes& attributes, double source, size_t input, Table& table) {
  const double low = std::floor(source), t = source - low, a = attributes.cubic;
  std::array<double, 4> weight{cubic_weight(t + 1, a), cubic_weight(t, a), cubic_weight(1 - t, a),
                               cubic_weight(2 - t, a)};
  const auto last = static_cast<int64_t>(input) - 1;
  double sum = 0;
  for (int64_t k = 0; k < 4; ++k) {
    const int64_t place = static_cast<int64_t>(low) - 1 + k;
    if (attributes.exclude_outside && (place < 0 || place > last))
      weight[static_cast<size_t>(k)] = 0;
    sum += weight[static_cast<size_t>(k)];
  }
  for (int64_t k = 0; k < 4; ++k) {
    const int64_t place = std::clamp(static_cast<int64_t>(low) - 1 + k, int64_t{0}, last);
    const double value = weight[static_cast<size_t>(k)];
    table.taps.push_back({static_cast<size_t>(place),
                          static_cast<float>(attributes.exclude_outside ? value / sum : value)});
  }
}

// An axis of `input` places, not empty, stretched by `scale` to `output` places.
struct Stretch {
  size_t input, output;
  double scale;
  Crop crop;
};

// For each output index of an axis the taps on the input: by nearest, linear or cubic
// interpolation, widened where antialias shrinks; marks those outside of a crop.
Table table_of(const Attributes& attributes, const Stretch& stretch) {
  const auto [input, output, scale, crop] = stretch;
  Table table;
  table.per_place =
      attributes.mode == Mode::kNearest ? 1 : (attributes.mode == Mode::kLinear ? 2 : 4);
  const bool wide = attributes.antialias && attributes.mode != Mode::kNearest && scale < 1;
  // As output >= 1, scale is at least about 1 / input: the table is a few times the input.
  if (wide) table.per_place = static_cast<size_t>(static_cast<double>(table.per_place) / scale) + 1;
  const double last = static_cast<double>(input) - 1;
  for (size_t place = 0; place < output; ++place) {
    const double source =
        attributes.source(static_cast<double>(place), scale, static_cast<double>(input),
                          static_cast<double>(output), crop);
    if (attributes.crops()) {
      table.outside.push_back(!(source >= 0 && source <= last));
      if (table.outside.back()) {
        table.taps.insert(table.taps.end(), table.per_place, Tap{0, 0});
        continue;
      }
    }
    if (wide) {
      add_wide(attributes, source, scale, input, table);
      continue;
    }
    switch (attributes.mode) {
      case Mode::kNearest: {
        const int64_t nearest = attributes.nearest(source);
        table.taps.push_back(
            {static_cast<size_t>(std::clamp(nearest, int64_t{0}, static_cast<int64_t>(last))), 1});
        break;
      }
      case Mode::kLinear: {
        const double inside = std::clamp(source, 0.0, last), low = std::floor(inside);
        const auto first = static_cast<size_t>(low);
        const auto t = static_cast<float>(inside - low);
        table.taps.push_back({first, 1 - t});
        table.taps.push_back({std::min(first + 1, input - 1), t});
        break;
      }
      case Mode::kCubic:
        add_cubic(attributes, source, input, table);
        break;
    }
  }
  return table;
}

// Nearest places alone: elements and lines are copied.
void pick_axis(const Table& table, const float* from, float* to, size_t outer, size_t input,
               size_t inner, ThreadPool& pool) {
  const size_t output = table.taps.size();
  parallel(pool, outer, output * inner, [&](size_t begin, size_t end) {
    for (size_t o = begin; o < end; ++o) {
      const float* source = from + o * input * inner;
      float* line = to + o * output * inner;
      if (inner == 1) {
        for (size_t place = 0; place < output; ++place)
          line[place] = source[table.taps[place].place];
        continue;
      }
      for (size_t place = 0; place < output; ++place)
        std::copy_n(source + table.taps[place].place * inner, inner, line + place * inner);
    }
  });
}

// from [outer, input, inner] to [outer, output, inner].
void resize_axis(const Table& table, const float* from, float* to, size_t outer, size_t input,
                 size_t inner, float extrapolation, ThreadPool& pool) {
  const bool nearest = table.per_place == 1 && table.outside.empty() &&
                       std::ranges::all_of(table.taps, [](Tap tap) { return tap.weight == 1; });
  if (nearest) return pick_axis(table, from, to, outer, input, inner, pool);
  const size_t output = table.taps.size() / table.per_place;
  parallel(pool, outer, output * inner * table.per_place, [&](size_t begin, size_t end) {
    for (size_t o = begin; o < end; ++o) {
      for (size_t place = 0; place < output; ++place) {
        const Tap* taps = table.taps.data() + place * table.per_place;
        float* line = to + (o * output + place) * inner;
        if (!table.outside.empty() && table.outside[place]) {
          std::fill_n(line, inner, extrapolation);
          continue;
        }
        for (size_t k = 0; k < table.per_place; ++k) {
          const float* source = from + (o * input + taps[k].place) * inner;
          const float weight = taps[k].weight;
          if (k == 0) {
            for (size_t i = 0; i < inner; ++i) line[i] = source[i] * weight;
          } else {
            for (size_t i = 0; i < inner; ++i) line[i] += source[i] * weight;
          }
        }
      }
    }
  });
}

struct Target {
  Dims dims;
  std::array<double, Dims::kMaxRank> scale{};
  bool fractional = false;  // scales give an extent that is no integer
  std::array<Crop, Dims::kMaxRank> crop{};
};

int64_t scaled(int64_t extent, double scale) {
  const double product = std::floor(static_cast<double>(extent) * scale);
  if (!(scale > 0) || product > 0x1p40) fail("a scale is {}", scale);
  return static_cast<int64_t>(product);
}

// Scales or sizes, for the named axes (all by default).
Target target_of(const Dims& x, const Dims& axes, std::span<const float> scales,
                 const std::optional<Dims>& sizes, const std::string& policy) {
  Target target{.dims = x};
  target.scale.fill(1);
  const size_t given = sizes ? sizes->rank() : scales.size();
  if (given != axes.rank()) fail("{} scales or sizes for {} axes", given, axes.rank());
  double common = policy == "not_larger" ? HUGE_VAL : 0;
  for (size_t i = 0; i < axes.rank(); ++i) {
    const size_t axis = axis_of(axes[i], x.rank());
    if (sizes) {
      if ((*sizes)[i] < 0 || (*sizes)[i] > int64_t{1} << 40) fail("a size is {}", (*sizes)[i]);
      if (x[axis] == 0 && (*sizes)[i] != 0) fail("an empty axis cannot grow");
      target.dims[axis] = (*sizes)[i];
      target.scale[axis] =
          x[axis] == 0 ? 1 : static_cast<double>((*sizes)[i]) / static_cast<double>(x[axis]);
      common = policy == "not_larger" ? std::min(common, target.scale[axis])
                                      : std::max(common, target.scale[axis]);
    } else {
      target.scale[axis] = scales[i];
      target.dims[axis] = scaled(x[axis], scales[i]);
      target.fractional = target.fractional || static_cast<double>(x[axis]) * scales[i] !=
                                                   static_cast<double>(target.dims[axis]);
    }
  }
  if (!sizes || policy == "stretch") return target;
  for (const int64_t named : axes) {  // one scale for all, as near to the sizes as the policy lets
    const size_t axis = axis_of(named, x.rank());
    target.scale[axis] = common;
    target.dims[axis] =
        static_cast<int64_t>(std::floor(common * static_cast<double>(x[axis]) + 0.5));
  }
  return target;
}

// Far above every real place of an image, and small enough for arithmetic with int64_t.
constexpr double kFarthest = 0x1p40;

void set_crops(Target& target, const Dims& axes, std::span<const float> roi) {
  if (roi.size() != 2 * axes.rank()) {
    fail("roi has {} numbers, expected {}", roi.size(), 2 * axes.rank());
  }
  for (size_t i = 0; i < axes.rank(); ++i) {
    const Crop crop{roi[i], roi[axes.rank() + i]};
    if (!(std::fabs(crop.start) < kFarthest && std::fabs(crop.end) < kFarthest)) {
      fail("roi contains {} to {}", crop.start, crop.end);
    }
    target.crop[axis_of(axes[i], target.dims.rank())] = crop;
  }
}

bool changes(const Target& target, const Dims& x, size_t axis) {
  return target.dims[axis] != x[axis] || target.scale[axis] != 1 || target.crop[axis].start != 0 ||
         target.crop[axis].end != 1;
}

// Resizes axis after axis, each through a table of taps; axes that do not change are skipped.
void resize(RunContext& run, const Attributes& attributes, const Target& target) {
  const Dims x = run.input(0).dims;
  std::vector<size_t> axes;
  for (size_t i = 0; i < x.rank(); ++i) {
    if (changes(target, x, i)) axes.push_back(i);
  }
  if (axes.empty()) return run.alias(0, 0, x);
  // onnx's reference measures by the extent before it is rounded, onnxruntime and PyTorch after it.
  if (target.fractional && (attributes.coordinates == "align_corners" || attributes.crops())) {
    unsupported("{} with scales that give a fractional extent is not supported",
                attributes.coordinates);
  }
  const float* from = f32_of(run, 0);
  float* y = f32_output(run, 0, target.dims);
  if (checked_count(target.dims) == 0) return;
  Dims now = x;
  for (size_t i = 0; i < axes.size(); ++i) {
    const size_t axis = axes[i];
    const auto input = static_cast<size_t>(x[axis]),
               output = static_cast<size_t>(target.dims[axis]);
    const Table table =
        table_of(attributes, {input, output, target.scale[axis], target.crop[axis]});
    now[axis] = target.dims[axis];
    float* to = i + 1 == axes.size() ? y : run.scratch_f32(checked_count(now));
    resize_axis(table, from, to, now.product(0, axis), input, now.product(axis + 1, now.rank()),
                attributes.extrapolation, run.pool());
    from = to;
  }
}

std::span<const float> floats(const RunContext& run, size_t input) {
  if (!run.has_input(input)) return {};
  return {f32_of(run, input), run.input(input).count()};
}

Dims all_axes(size_t rank) {
  Dims axes;
  for (size_t i = 0; i < rank; ++i) axes.push_back(static_cast<int64_t>(i));
  return axes;
}

// Opset 10 has inputs X, scales; from 11 on X, roi, scales, sizes.
Run prepare_resize(const PrepareContext& context) {
  const size_t scales_input = context.opset < 11 ? 1 : 2;
  std::optional<Dims> axes;
  if (find_attribute(context.node, "axes") != nullptr) {
    axes = Dims(ints_attribute(context.node, "axes", {}));
  }
  const std::string policy = string_attribute(context.node, "keep_aspect_ratio_policy", "stretch");
  return [attributes = Attributes(context), scales_input, axes, policy](RunContext& run) {
    const Dims& x = run.input(0).dims;
    const std::span<const float> scales = floats(run, scales_input);
    std::optional<Dims> sizes;
    if (scales.empty() && run.has_input(3)) sizes = ints_of(run.input(3));
    const Dims named = axes ? *axes : all_axes(x.rank());
    axes_mask(named, x.rank());
    Target target = target_of(x, named, scales, sizes, policy);
    if (attributes.crops()) set_crops(target, named, floats(run, 1));
    resize(run, attributes, target);
  };
}

// Scales as an attribute (opset 7) or an input (opset 9).
Run prepare_upsample(const PrepareContext& context) {
  const std::vector<float> fixed = floats_attribute(context.node, "scales", {});
  return [attributes = Attributes(context), fixed](RunContext& run) {
    const Dims& x = run.input(0).dims;
    const std::span<const float> scales = run.has_input(1) ? floats(run, 1) : fixed;
    resize(run, attributes, target_of(x, all_axes(x.rank()), scales, {}, "stretch"));
  };
}

}  // namespace

constinit const Operator resize_operator{
    .name = "Resize", .prepare = prepare_resize, .half_as_f32 = true};
constinit const Operator upsample_operator{
    .name = "Upsample", .prepare = prepare_upsample, .half_as_f32 = true};

}  // namespace espalier
