// Reductions along axes: sums, means, norms, extremes, and the place of the extreme.

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "lib/kernels/elementwise/elementwise.h"
#include "lib/ops/op_util.h"

namespace espalier {
namespace {

// Extents as kept and reduced axes; neighbours of one kind are merged.
struct Plan {
  Dims output;                                      // as the node gives it
  std::span<const std::pair<size_t, bool>> axes{};  // extent, reduced
  size_t reduced = 1, kept = 1;

  Plan(const Dims& dims, uint64_t mask, bool keep_axes) {
    size_t count = 0;
    for (size_t i = 0; i < dims.rank(); ++i) {
      const bool drop = (mask >> i & 1) != 0;
      const auto extent = static_cast<size_t>(dims[i]);
      (drop ? reduced : kept) *= extent;
      if (!drop) {
        output.push_back(dims[i]);
      } else if (keep_axes) {
        output.push_back(1);
      }
      if (extent == 1) continue;
      if (count != 0 && room_[count - 1].second == drop) {
        room_[count - 1].first *= extent;
      } else {
        room_[count++] = {extent, drop};
      }
    }
    axes = std::span(room_).first(count);
  }
  Plan(const Plan&) = delete;  // axes lie inside
  Plan& operator=(const Plan&) = delete;

 private:
  std::array<std::pair<size_t, bool>, Dims::kMaxRank> room_;
};

// The offsets that the axes of one kind reach, in row-major order.
std::vector<size_t> offsets(const Plan& plan, bool reduced) {
  std::vector<size_t> result{0};
  size_t stride = 1;
  std::vector<size_t> strides(plan.axes.size());
  for (size_t i = plan.axes.size(); i-- > 0;) {
    strides[i] = stride;
    stride *= plan.axes[i].first;
  }
  for (size_t i = 0; i < plan.axes.size(); ++i) {
    if (plan.axes[i].second != reduced) continue;
    std::vector<size_t> next;
    next.reserve(result.size() * plan.axes[i].first);
    for (const size_t base : result) {
      for (size_t k = 0; k < plan.axes[i].first; ++k) next.push_back(base + k * strides[i]);
    }
    result = std::move(next);
  }
  return result;
}

// A reduction: starts at `start`, takes elements in by `take`, ends by `finish(sum, count)`.
// f32 sums are kept in f64, as the order of elements is arbitrary.
template <typename T>
using Wide = std::conditional_t<std::is_same_v<T, float>, double, T>;

struct Sum {
  template <typename T>
  static T start() {
    return T{0};
  }
  template <typename T>
  static T take(T sum, T x) {
    return sum + x;
  }
  template <typename T>
  static T finish(T sum, size_t) {
    return sum;
  }
};
struct Mean : Sum {
  template <typename T>
  static T finish(T sum, size_t count) {
    return count == 0 ? sum : sum / static_cast<T>(count);
  }
};
struct SumSquare : Sum {
  template <typename T>
  static T take(T sum, T x) {
    return sum + x * x;
  }
};
struct L1 : Sum {
  template <typename T>
  static T take(T sum, T x) {
    return x < 0 ? sum - x : sum + x;
  }
};
struct L2 : SumSquare {
  template <typename T>
  static T finish(T sum, size_t) {
    return static_cast<T>(std::sqrt(sum));
  }
};
struct LogSum : Sum {
  template <typename T>
  static T finish(T sum, size_t) {
    return static_cast<T>(std::log(sum));
  }
};
struct Times {
  template <typename T>
  static T start() {
    return T{1};
  }
  template <typename T>
  static T take(T product, T x) {
    return product * x;
  }
  template <typename T>
  static T finish(T product, size_t) {
    return product;
  }
};
struct Largest {
  template <typename T>
  static T start() {
    return std::numeric_limits<T>::has_infinity ? -std::numeric_limits<T>::infinity()
                                                : std::numeric_limits<T>::lowest();
  }
  template <typename T>
  static T take(T most, T x) {
    return x > most || x != x ? x : most;
  }
  template <typename T>
  static T finish(T most, size_t) {
    return most;
  }
};
struct Smallest {
  template <typename T>
  static T start() {
    return std::numeric_limits<T>::has_infinity ? std::numeric_limits<T>::infinity()
                                                : std::numeric_limits<T>::max();
  }
  template <typename T>
  static T take(T least, T x) {
    return x < least || x != x ? x : least;
  }
  template <typename T>
  static T finish(T least, size_t) {
    return least;
  }
};

// One reduced run of axes in front of a kept one: the kept elements lie side by side, and are taken
// in a few at a time.
template <typename Kind, typename T>
void reduce_columns(const T* from, T* to, size_t outer, size_t reduced, size_t inner,
                    ThreadPool& pool) {
  using W = Wide<T>;
  constexpr size_t kColumns = 64;
  const size_t pieces = (inner + kColumns - 1) / kColumns;
  parallel(pool, outer * pieces, reduced * kColumns, [&](size_t begin, size_t end) {
    for (size_t piece = begin; piece < end; ++piece) {
      const size_t o = piece / pieces, first = piece % pieces * kColumns;
      const size_t count = std::min(kColumns, inner - first);
      std::array<W, kColumns> results;
      results.fill(Kind::template start<W>());
      for (size_t r = 0; r < reduced; ++r) {
        const T* row = from + (o * reduced + r) * inner + first;
        for (size_t i = 0; i < count; ++i)
          results[i] = Kind::template take<W>(results[i], static_cast<W>(row[i]));
      }
      for (size_t i = 0; i < count; ++i)
        to[o * inner + first + i] = static_cast<T>(Kind::template finish<W>(results[i], reduced));
    }
  });
}

// Reduces by Kind in the accumulator Wide<T>, the elements of one output next to each other, in
// columns, or by lists of offsets, as the plan's axes allow.
template <typename Kind, typename T>
void reduce_as(const T* from, T* to, const Plan& plan, ThreadPool& pool) {
  using W = Wide<T>;
  // Kept axes before one reduced tail (the usual case) need no lists of offsets.
  const bool tail = plan.axes.empty() || (plan.axes.size() == 1 && plan.axes[0].second) ||
                    (plan.axes.size() == 2 && plan.axes[1].second);
  const auto reduce_one = [](const auto& element, size_t count) {
    // Four sums at once: one alone would wait for each addition.
    std::array<W, 4> sums{Kind::template start<W>(), Kind::template start<W>(),
                          Kind::template start<W>(), Kind::template start<W>()};
    constexpr bool kSummed = std::is_base_of_v<Sum, Kind>;
    size_t i = 0;
    if constexpr (kSummed) {
      for (; i + 4 <= count; i += 4) {
        for (size_t k = 0; k < 4; ++k) sums[k] = Kind::template take<W>(sums[k], element(i + k));
      }
    }
    for (; i < count; ++i) sums[0] = Kind::template take<W>(sums[0], element(i));
    const W all = kSummed ? (sums[0] + sums[1]) + (sums[2] + sums[3]) : sums[0];
    return static_cast<T>(Kind::template finish<W>(all, count));
  };
  if (tail) {
    parallel(pool, plan.kept, plan.reduced, [&](size_t begin, size_t end) {
      for (size_t k = begin; k < end; ++k) {
        const T* row = from + k * plan.reduced;
        to[k] = reduce_one([row](size_t i) { return static_cast<W>(row[i]); }, plan.reduced);
      }
    });
    return;
  }
  const size_t runs = plan.axes.size();
  const bool columns = runs >= 2 && runs <= 3 && plan.axes[runs - 2].second;
  if (columns) {
    const size_t inner = plan.axes[runs - 1].first;
    return reduce_columns<Kind>(from, to, plan.kept / inner, plan.reduced, inner, pool);
  }
  const std::vector<size_t> kept = offsets(plan, false), reduced = offsets(plan, true);
  parallel(pool, kept.size(), reduced.size(), [&](size_t begin, size_t end) {
    for (size_t k = begin; k < end; ++k) {
      const T* base = from + kept[k];
      to[k] =
          reduce_one([&](size_t i) { return static_cast<W>(base[reduced[i]]); }, reduced.size());
    }
  });
}

// log(sum(exp(x))), kept in range by the largest element.
template <typename T>
void reduce_log_sum_exp(const T* from, T* to, const Plan& plan) {
  const std::vector<size_t> kept = offsets(plan, false), reduced = offsets(plan, true);
  for (size_t k = 0; k < kept.size(); ++k) {
    T most = -std::numeric_limits<T>::infinity();
    for (const size_t offset : reduced) most = std::max(most, from[kept[k] + offset]);
    if (std::isinf(most)) most = 0;
    double sum = 0;
    for (const size_t offset : reduced) {
      sum += std::exp(static_cast<double>(from[kept[k] + offset] - most));
    }
    to[k] = static_cast<T>(std::log(sum)) + most;
  }
}

struct LogSumExp {};

struct ReduceOptions {
  IntsOperand axes;
  bool keep, empty_is_noop;

  explicit ReduceOptions(const PrepareContext& context)
      : axes(context, "axes", 1),
        keep(int_attribute(context.node, "keepdims", 1) != 0),
        empty_is_noop(int_attribute(context.node, "noop_with_empty_axes", 0) != 0) {}

  // Which axes are reduced; nothing where the node does nothing.
  std::optional<uint64_t> mask(const RunContext& run, size_t rank) const {
    const std::optional<Dims> named = axes.get(run);
    if (named && named->rank() != 0) return axes_mask(*named, rank);
    if (empty_is_noop) return std::nullopt;
    return (uint64_t{1} << rank) - 1;
  }
};

// Plans the axes, makes the output and reduces in the input's type; the extremes of bools are
// computed as those of bytes.
template <typename Kind>
Run prepare_reduce(const PrepareContext& context) {
  return [options = ReduceOptions(context)](RunContext& run) {
    const TensorView& x = run.input(0);
    const std::optional<uint64_t> mask = options.mask(run, x.dims.rank());
    // Elementwise functions (L1, SumSquare, ...) still apply to each element alone.
    const Plan plan(x.dims, mask.value_or(0), options.keep);
    if (plan.reduced == 0 && plan.kept != 0 && std::is_same_v<Kind, Mean>) {
      fail("the mean of no elements");
    }
    const TensorView y = run.output(0, x.dtype, plan.output);
    if (plan.kept == 0) return;
    bool known = false;
    if constexpr (std::is_same_v<Kind, LogSumExp>) {
      known = with_float(x.dtype, [&](auto zero) {
        using T = decltype(zero);
        reduce_log_sum_exp<T>(x.data<T>(), y.data<T>(), plan);
      });
    } else {
      // Bools are the numbers 0 and 1, whose extremes are "any" and "all".
      constexpr bool kExtreme = std::is_same_v<Kind, Largest> || std::is_same_v<Kind, Smallest>;
      const bool bools = kExtreme && x.dtype == DType::kBool;
      known = with_number(bools ? DType::kU8 : x.dtype, [&](auto zero) {
        using T = decltype(zero);
        reduce_as<Kind, T>(x.data<T>(), y.data<T>(), plan, run.pool());
      });
      for (size_t k = 0; bools && k < plan.kept; ++k) {
        y.data<uint8_t>()[k] = y.data<uint8_t>()[k] != 0 ? 1 : 0;
      }
    }
    if (!known) unsupported_type(x.dtype);
  };
}

// The first or last of equal extremes.
template <bool largest>
Run prepare_arg(const PrepareContext& context) {
  const int64_t axis_attribute = int_attribute(context.node, "axis", 0);
  const bool keep = int_attribute(context.node, "keepdims", 1) != 0;
  const bool last = int_attribute(context.node, "select_last_index", 0) != 0;
  return [axis_attribute, keep, last](RunContext& run) {
    const TensorView& x = run.input(0);
    const size_t rank = x.dims.rank(), axis = axis_of(axis_attribute, rank);
    const size_t extent = static_cast<size_t>(x.dims[axis]);
    const size_t inner = x.dims.product(axis + 1, rank);
    const Plan plan(x.dims, uint64_t{1} << axis, keep);
    if (extent == 0 && plan.kept != 0) fail("the extreme of no elements");
    auto* to = run.output(0, DType::kI64, plan.output).data<int64_t>();
    const bool known = with_number(x.dtype, [&](auto zero) {
      const auto* from = x.data<decltype(zero)>();
      for (size_t k = 0; k < plan.kept; ++k) {
        const auto* base = from + k / inner * extent * inner + k % inner;
        size_t best = 0;
        for (size_t i = 1; i < extent; ++i) {
          const auto value = base[i * inner], so_far = base[best * inner];
          const bool better = largest ? so_far < value : value < so_far;
          if (better || (last && value == so_far)) best = i;
        }
        to[k] = static_cast<int64_t>(best);
      }
    });
    if (!known) unsupported_type(x.dtype);
  };
}

// Running sums along the axis, from the end with `reverse`, without the element itself with
// `exclusive`.
Run prepare_cum_sum(const PrepareContext& context) {
  const bool exclusive = int_attribute(context.node, "exclusive", 0) != 0;
  const bool reverse = int_attribute(context.node, "reverse", 0) != 0;
  return [exclusive, reverse](RunContext& run) {
    const TensorView& x = run.input(0);
    const size_t rank = x.dims.rank();
    const size_t axis = axis_of(static_cast<int64_t>(scalar_of(run.input(1))), rank);
    const size_t extent = static_cast<size_t>(x.dims[axis]);
    const size_t inner = x.dims.product(axis + 1, rank), outer = x.dims.product(0, axis);
    const TensorView y = run.output(0, x.dtype, x.dims);
    const bool known = with_number(x.dtype, [&](auto zero) {
      using T = decltype(zero);
      for (size_t k = 0; k < outer * inner; ++k) {
        const size_t base = k / inner * extent * inner + k % inner;
        T sum = 0;
        for (size_t i = 0; i < extent; ++i) {
          const size_t at = base + (reverse ? extent - 1 - i : i) * inner;
          const T next = static_cast<T>(sum + x.data<T>()[at]);
          y.data<T>()[at] = exclusive ? sum : next;
          sum = next;
        }
      }
    });
    if (!known) unsupported_type(x.dtype);
  };
}

}  // namespace

#define ESPALIER_REDUCTION(id, onnx_name, kind) \
  constinit const Operator id##_operator{       \
      .name = onnx_name, .prepare = prepare_reduce<kind>, .half_as_f32 = true};
ESPALIER_REDUCTION(reduce_l1, "ReduceL1", L1)
ESPALIER_REDUCTION(reduce_l2, "ReduceL2", L2)
ESPALIER_REDUCTION(reduce_log_sum, "ReduceLogSum", LogSum)
ESPALIER_REDUCTION(reduce_log_sum_exp, "ReduceLogSumExp", LogSumExp)
ESPALIER_REDUCTION(reduce_max, "ReduceMax", Largest)
ESPALIER_REDUCTION(reduce_mean, "ReduceMean", Mean)
ESPALIER_REDUCTION(reduce_min, "ReduceMin", Smallest)
ESPALIER_REDUCTION(reduce_prod, "ReduceProd", Times)
ESPALIER_REDUCTION(reduce_sum, "ReduceSum", Sum)
ESPALIER_REDUCTION(reduce_sum_square, "ReduceSumSquare", SumSquare)
#undef ESPALIER_REDUCTION

constinit const Operator arg_max_operator{
    .name = "ArgMax", .prepare = prepare_arg<true>, .half_as_f32 = true};
constinit const Operator arg_min_operator{
    .name = "ArgMin", .prepare = prepare_arg<false>, .half_as_f32 = true};
constinit const Operator cum_sum_operator{
    .name = "CumSum", .prepare = prepare_cum_sum, .half_as_f32 = true};

}  // namespace espalier
