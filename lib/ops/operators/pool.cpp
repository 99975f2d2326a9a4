// MaxPool, AveragePool, LpPool and their global forms.

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <span>
#include <utility>

#include "lib/kernels/elementwise/elementwise.h"
#include "lib/ops/op_util.h"
#include "lib/ops/window.h"

namespace espalier {
namespace {

using Axes = std::array<WindowAxis, 3>;  // fewer spatial axes: extents of 1 in front

// First tap inside the input, one past the last, for output place `place`.
struct Taps {
  int64_t start;  // input place of tap 0
  size_t begin, end;

  Taps(const WindowAxis& axis, size_t place)
      : start(static_cast<int64_t>(place * axis.stride) - static_cast<int64_t>(axis.pad_begin)) {
    const auto dilation = static_cast<int64_t>(axis.dilation);
    const int64_t before = start < 0 ? (-start + dilation - 1) / dilation : 0;
    const int64_t inside = static_cast<int64_t>(axis.input) - start;
    const int64_t after = inside <= 0 ? 0 : (inside + dilation - 1) / dilation;
    end = std::min(axis.kernel, static_cast<size_t>(after));
    begin = std::min(static_cast<size_t>(before), end);
  }
  size_t at(const WindowAxis& axis, size_t tap) const {
    return static_cast<size_t>(start + static_cast<int64_t>(tap * axis.dilation));
  }
};

struct Geometry {
  Axes axes;
  Dims output;
  size_t planes, input_places, output_places;
};

Geometry geometry_of(const WindowAttributes& window, const Dims& x) {
  const size_t spatial = x.rank() < 2 ? 0 : x.rank() - 2;
  if (spatial < 1 || spatial > 3) unsupported("pooling over {} axes is not supported", spatial);
  if (window.kernel.size() != spatial) {
    fail("kernel_shape has {} values for {} axes", window.kernel.size(), spatial);
  }
  Geometry g{.axes = {},
             .output = {x[0], x[1]},
             .planes = x.product(0, 2),
             .input_places = 1,
             .output_places = 1};
  for (size_t i = 0; i < spatial; ++i) {
    WindowAxis& axis = g.axes[3 - spatial + i];
    axis = window.resolve(i, spatial, static_cast<size_t>(x[2 + i]),
                          static_cast<size_t>(window.kernel[i]));
    g.output.push_back(static_cast<int64_t>(axis.output));
    g.input_places *= axis.input;
    g.output_places *= axis.output;
  }
  return g;
}

// Calls visit(output place, taps of the three axes) for each place of a plane.
template <typename Visit>
void for_places(const Axes& axes, const Visit& visit) {
  size_t place = 0;
  for (size_t i = 0; i < axes[0].output; ++i) {
    const Taps a(axes[0], i);
    for (size_t j = 0; j < axes[1].output; ++j) {
      const Taps b(axes[1], j);
      for (size_t k = 0; k < axes[2].output; ++k) visit(place++, a, b, Taps(axes[2], k));
    }
  }
}

// The larger one; NaN wins.
template <typename T>
T larger(T most, T x) {
  return x > most || x != x ? x : most;
}

// The places of one axis whose window has tap `tap` inside the input.
std::pair<size_t, size_t> places_of(const WindowAxis& axis, size_t tap) {
  const auto stride = static_cast<int64_t>(axis.stride);
  const auto up = [stride](int64_t x) { return x <= 0 ? 0 : (x + stride - 1) / stride; };
  const int64_t shift =
      static_cast<int64_t>(axis.pad_begin) - static_cast<int64_t>(tap * axis.dilation);
  const auto last = static_cast<int64_t>(axis.output);
  const int64_t end = std::min(up(static_cast<int64_t>(axis.input) + shift), last);
  return {static_cast<size_t>(std::min(up(shift), end)), static_cast<size_t>(end)};
}

// Windows worked out once for all planes: taps of each place of the first two axes, places of each
// tap of the last one. Divisions cost more than the few elements of a small image.
struct Windows {
  std::span<const Taps> outer, middle;
  std::span<const std::pair<size_t, size_t>> line;

  Windows(const Axes& axes, RunContext& run)
      : outer(taps_of(axes[0], run)), middle(taps_of(axes[1], run)) {
    using Places = std::pair<size_t, size_t>;
    auto* to = reinterpret_cast<Places*>(run.scratch(axes[2].kernel * sizeof(Places)));
    for (size_t tap = 0; tap < axes[2].kernel; ++tap)
      std::construct_at(to + tap, places_of(axes[2], tap));
    line = {to, axes[2].kernel};
  }

 private:
  static std::span<const Taps> taps_of(const WindowAxis& axis, RunContext& run) {
    auto* to = reinterpret_cast<Taps*>(run.scratch(axis.output * sizeof(Taps)));
    for (size_t place = 0; place < axis.output; ++place) std::construct_at(to + place, axis, place);
    return {to, axis.output};
  }
};

// y = larger(y, x) for every stride-th x.
template <typename T>
void raise_line(T* y, const T* x, size_t stride, size_t count) {
  switch (stride) {
    case 1:
      for (size_t k = 0; k < count; ++k) y[k] = larger(y[k], x[k]);
      return;
    case 2:
      for (size_t k = 0; k < count; ++k) y[k] = larger(y[k], x[2 * k]);
      return;
    default:
      for (size_t k = 0; k < count; ++k) y[k] = larger(y[k], x[stride * k]);
  }
}

// Largest elements alone: line by line, so that the innermost loop runs over places.
template <typename T>
void max_lines(const Axes& axes, const Windows& windows, const T* from, T* to) {
  T least = std::numeric_limits<T>::lowest();
  if constexpr (std::is_floating_point_v<T>) least = -std::numeric_limits<T>::infinity();
  const WindowAxis& line = axes[2];
  for (const Taps& a : windows.outer) {
    for (const Taps& b : windows.middle) {
      std::fill_n(to, line.output, least);
      for (size_t u = a.begin; u < a.end; ++u) {
        for (size_t v = b.begin; v < b.end; ++v) {
          const T* row = from + (a.at(axes[0], u) * axes[1].input + b.at(axes[1], v)) * line.input;
          for (size_t tap = 0; tap < line.kernel; ++tap) {
            const auto [begin, end] = windows.line[tap];
            if (begin == end) continue;
            const T* x = row + begin * line.stride + tap * line.dilation - line.pad_begin;
            raise_line(to + begin, x, line.stride, end - begin);
          }
        }
      }
      to += line.output;
    }
  }
}

// Windows of 2x2 side by side, the usual ones of small images.
bool is_halving(const Axes& axes) {
  const auto halves = [](const WindowAxis& axis) {
    return axis.kernel == 2 && axis.stride == 2 && axis.dilation == 1 && axis.pad_begin == 0 &&
           2 * axis.output <= axis.input;
  };
  return axes[0].input == 1 && axes[0].output == 1 && axes[0].kernel == 1 && halves(axes[1]) &&
         halves(axes[2]);
}

// `planes` of them.
template <typename T>
void halve(const Axes& axes, size_t planes, const T* from, T* to) {
  const size_t height = axes[1].input, width = axes[2].input;
  const size_t rows = axes[1].output, places = axes[2].output;
  if (rows == 0 || places == 0) return;
  if constexpr (std::is_same_v<T, float>) {
    const bool together = height == 2 * rows;  // lines of all planes
    const size_t count = together ? planes : 1;
    for (size_t p = 0; p < planes; p += count)
      halve_max({from + p * height * width, count * height * width}, width, places,
                {to + p * rows * places, count * rows * places});
    return;
  }
  for (size_t p = 0; p < planes; ++p) {
    for (size_t row = 0; row < rows; ++row, to += places) {
      const T* const upper = from + (p * height + 2 * row) * width;
      const T* const lower = upper + width;
      for (size_t k = 0; k < places; ++k)
        to[k] =
            larger(larger(upper[2 * k], upper[2 * k + 1]), larger(lower[2 * k], lower[2 * k + 1]));
    }
  }
}

// The largest element of each window of one plane and where it is: `offset` plus its index in the
// plane, counted by columns with `column_major`. NaN wins over everything.
template <typename T>
void max_plane(const Axes& axes, const T* from, T* to, int64_t* places, int64_t offset,
               bool column_major) {
  for_places(axes, [&](size_t place, const Taps& a, const Taps& b, const Taps& c) {
    T most = std::numeric_limits<T>::lowest();
    if constexpr (std::is_floating_point_v<T>) most = -std::numeric_limits<T>::infinity();
    size_t best = 0;
    bool found = false;
    for (size_t i = a.begin; i < a.end; ++i) {
      for (size_t j = b.begin; j < b.end; ++j) {
        const size_t row = a.at(axes[0], i) * axes[1].input + b.at(axes[1], j);
        for (size_t k = c.begin; k < c.end; ++k) {
          const size_t at = row * axes[2].input + c.at(axes[2], k);
          if (found && !(most < from[at]) && from[at] == from[at]) continue;
          most = from[at];
          best = at;
          found = true;
        }
      }
    }
    to[place] = most;
    if (column_major) {  // of the spatial axes
      const size_t w = axes[2].input, h = axes[1].input;
      best = (best % w * h + best / w % h) * axes[0].input + best / (w * h);
    }
    places[place] = offset + static_cast<int64_t>(best);
  });
}

// MaxPool, plane after plane by the fastest way that fits: halving both extents, by lines, or with
// indices by max_plane().
Run prepare_max(const PrepareContext& context) {
  const bool column_major = int_attribute(context.node, "storage_order", 0) != 0;
  return [window = WindowAttributes(context.node), column_major](RunContext& run) {
    const TensorView& x = run.input(0);
    const Geometry g = geometry_of(window, x.dims);
    const TensorView y = run.output(0, x.dtype, g.output);
    int64_t* places = nullptr;
    if (run.wants_output(1)) places = run.output(1, DType::kI64, g.output).data<int64_t>();
    const Windows windows(g.axes, run);
    const auto pool_as = [&](auto zero) {
      using T = decltype(zero);
      const size_t taps = g.axes[0].kernel * g.axes[1].kernel * g.axes[2].kernel;
      const bool halving = is_halving(g.axes) && places == nullptr;
      parallel(run.pool(), g.planes, g.output_places * taps, [&](size_t begin, size_t end) {
        if (halving)
          return halve<T>(g.axes, end - begin, x.data<T>() + begin * g.input_places,
                          y.data<T>() + begin * g.output_places);
        for (size_t p = begin; p < end; ++p) {
          if (places == nullptr) {
            max_lines<T>(g.axes, windows, x.data<T>() + p * g.input_places,
                         y.data<T>() + p * g.output_places);
            continue;
          }
          max_plane<T>(g.axes, x.data<T>() + p * g.input_places, y.data<T>() + p * g.output_places,
                       places + p * g.output_places, static_cast<int64_t>(p * g.input_places),
                       column_major);
        }
      });
    };
    switch (x.dtype) {
      case DType::kF32:
        return pool_as(float{});
      case DType::kF64:
        return pool_as(double{});
      case DType::kI8:
        return pool_as(int8_t{});
      case DType::kU8:
        return pool_as(uint8_t{});
      default:
        unsupported_type(x.dtype);
    }
  };
}

// Taps that count for the divisor: inside the input, or inside input and pads.
size_t counted(const WindowAxis& axis, const Taps& taps, bool with_pads) {
  if (!with_pads) return taps.end - taps.begin;
  const int64_t room = static_cast<int64_t>(axis.input + axis.pad_end) - taps.start;
  const auto dilation = static_cast<int64_t>(axis.dilation);
  return std::min(axis.kernel,
                  static_cast<size_t>(std::max<int64_t>((room + dilation - 1) / dilation, 0)));
}

void average_plane(const Axes& axes, const float* from, float* to, bool with_pads) {
  for_places(axes, [&](size_t place, const Taps& a, const Taps& b, const Taps& c) {
    float sum = 0;
    for (size_t i = a.begin; i < a.end; ++i) {
      for (size_t j = b.begin; j < b.end; ++j) {
        const size_t row = a.at(axes[0], i) * axes[1].input + b.at(axes[1], j);
        for (size_t k = c.begin; k < c.end; ++k) {
          sum += from[row * axes[2].input + c.at(axes[2], k)];
        }
      }
    }
    const size_t count = counted(axes[0], a, with_pads) * counted(axes[1], b, with_pads) *
                         counted(axes[2], c, with_pads);
    to[place] = count == 0 ? 0 : sum / static_cast<float>(count);
  });
}

Run prepare_average(const PrepareContext& context) {
  const bool with_pads = int_attribute(context.node, "count_include_pad", 0) != 0;
  return [window = WindowAttributes(context.node), with_pads](RunContext& run) {
    const Dims& x = run.input(0).dims;
    const Geometry g = geometry_of(window, x);
    const float* from = f32_of(run, 0);
    float* to = f32_output(run, 0, g.output);
    const size_t taps = g.axes[0].kernel * g.axes[1].kernel * g.axes[2].kernel;
    parallel(run.pool(), g.planes, g.output_places * taps, [&](size_t begin, size_t end) {
      for (size_t p = begin; p < end; ++p) {
        average_plane(g.axes, from + p * g.input_places, to + p * g.output_places, with_pads);
      }
    });
  };
}

// The norm of the elements of a window; pads are zeros.
class Norm {
 public:
  explicit Norm(const PrepareContext& context) : p_(int_attribute(context.node, "p", 2)) {
    if (p_ < 1) fail("p is {}, expected 1 or more", p_);
  }
  double term(float x) const {
    const double magnitude = std::fabs(static_cast<double>(x));
    return p_ == 1 ? magnitude : (p_ == 2 ? magnitude * magnitude : std::pow(magnitude, p_));
  }
  float root(double sum) const {
    return static_cast<float>(
        p_ == 1 ? sum : (p_ == 2 ? std::sqrt(sum) : std::pow(sum, 1.0 / static_cast<double>(p_))));
  }

 private:
  int64_t p_;
};

void norm_plane(const Axes& axes, const float* from, float* to, const Norm& norm) {
  for_places(axes, [&](size_t place, const Taps& a, const Taps& b, const Taps& c) {
    double sum = 0;
    for (size_t i = a.begin; i < a.end; ++i) {
      for (size_t j = b.begin; j < b.end; ++j) {
        const size_t row = a.at(axes[0], i) * axes[1].input + b.at(axes[1], j);
        for (size_t k = c.begin; k < c.end; ++k) {
          sum += norm.term(from[row * axes[2].input + c.at(axes[2], k)]);
        }
      }
    }
    to[place] = norm.root(sum);
  });
}

Run prepare_norm(const PrepareContext& context) {
  return [window = WindowAttributes(context.node), norm = Norm(context)](RunContext& run) {
    const Geometry g = geometry_of(window, run.input(0).dims);
    const float* from = f32_of(run, 0);
    float* to = f32_output(run, 0, g.output);
    const size_t taps = g.axes[0].kernel * g.axes[1].kernel * g.axes[2].kernel;
    parallel(run.pool(), g.planes, g.output_places * taps, [&](size_t begin, size_t end) {
      for (size_t p = begin; p < end; ++p) {
        norm_plane(g.axes, from + p * g.input_places, to + p * g.output_places, norm);
      }
    });
  };
}

// Calls reduce(elements of a plane) for each, which are all of [N, C, ...] behind the first two.
template <typename Reduce>
void reduce_planes(RunContext& run, const Reduce& reduce) {
  const Dims& x = run.input(0).dims;
  if (x.rank() < 2) fail("shape is {}, expected [N, C, ...]", to_string(x));
  const size_t planes = x.product(0, 2), places = x.product(2, x.rank());
  Dims dims{x[0], x[1]};
  for (size_t i = 2; i < x.rank(); ++i) dims.push_back(1);
  const float* from = f32_of(run, 0);
  float* to = f32_output(run, 0, dims);
  parallel(run.pool(), planes, places, [&](size_t begin, size_t end) {
    for (size_t p = begin; p < end; ++p) {
      to[p] = reduce(std::span<const float>(from + p * places, places));
    }
  });
}

Run prepare_global_norm(const PrepareContext& context) {
  return [norm = Norm(context)](RunContext& run) {
    reduce_planes(run, [&norm](std::span<const float> plane) {
      double sum = 0;
      for (const float x : plane) sum += norm.term(x);
      return norm.root(sum);
    });
  };
}

template <bool average>
Run prepare_global(const PrepareContext&) {
  return [](RunContext& run) {
    reduce_planes(run, [](std::span<const float> plane) {
      return average ? sum_of(plane) / static_cast<float>(plane.size()) : max_of(plane);
    });
  };
}

}  // namespace

constinit const Operator max_pool_operator{
    .name = "MaxPool", .prepare = prepare_max, .half_as_f32 = true};
constinit const Operator average_pool_operator{
    .name = "AveragePool", .prepare = prepare_average, .half_as_f32 = true};
constinit const Operator lp_pool_operator{
    .name = "LpPool", .prepare = prepare_norm, .half_as_f32 = true};
constinit const Operator global_lp_pool_operator{
    .name = "GlobalLpPool", .prepare = prepare_global_norm, .half_as_f32 = true};
constinit const Operator global_average_pool_operator{
    .name = "GlobalAveragePool", .prepare = prepare_global<true>, .half_as_f32 = true};
constinit const Operator global_max_pool_operator{
    .name = "GlobalMaxPool", .prepare = prepare_global<false>, .half_as_f32 = true};

}  // namespace espalier
