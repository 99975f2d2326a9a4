// Functions of two and more elements, with multidirectional broadcasting.

#include <algorithm>
#include <cmath>
#include <limits>

#include "lib/kernels/elementwise/elementwise.h"
#include "lib/ops/op_util.h"

namespace espalier {
namespace {

// The output's extents with neighbouring axes merged where all operands walk them as one.
struct Loop {
  size_t rank = 0;
  std::array<size_t, Dims::kMaxRank> extent{};
  std::array<Strides, 3> stride{};  // of up to three operands

  Loop(const Dims& out, std::span<const Dims* const> operands) {
    std::array<Strides, 3> full{};
    for (size_t k = 0; k < operands.size(); ++k) full[k] = broadcast_strides(*operands[k], out);
    for (size_t i = 0; i < out.rank(); ++i) {
      if (out[i] == 1) continue;
      const auto merges = [&](size_t k) { return stride[k][rank - 1] == out[i] * full[k][i]; };
      const bool merge = rank != 0 && merges(0) && merges(1) && merges(2);
      if (!merge) extent[rank++] = 1;
      extent[rank - 1] *= static_cast<size_t>(out[i]);
      for (size_t k = 0; k < 3; ++k) stride[k][rank - 1] = full[k][i];
    }
    if (rank == 0) extent[rank++] = 1;
  }

  size_t inner() const { return extent[rank - 1]; }
  ptrdiff_t inner_stride(size_t k) const { return stride[k][rank - 1]; }
  size_t lines() const {
    size_t result = 1;
    for (size_t i = 0; i + 1 < rank; ++i) result *= extent[i];
    return result;
  }
  // Where each operand's line number `line` starts.
  std::array<ptrdiff_t, 3> start(size_t line) const {
    std::array<ptrdiff_t, 3> at{};
    for (size_t i = rank - 1; i-- > 0;) {
      const auto index = static_cast<ptrdiff_t>(line % extent[i]);
      line /= extent[i];
      for (size_t k = 0; k < 3; ++k) at[k] += index * stride[k][i];
    }
    return at;
  }
};

// Calls run_line(offsets, first output element, length) for pieces of lines.
template <typename RunLine>
void for_lines(const Loop& loop, ThreadPool& pool, const RunLine& run_line) {
  const size_t inner = loop.inner(), lines = loop.lines();
  if (lines == 1) {
    parallel(pool, inner, 1, [&](size_t begin, size_t end) {
      std::array<ptrdiff_t, 3> at{};
      for (size_t k = 0; k < 3; ++k) at[k] = static_cast<ptrdiff_t>(begin) * loop.inner_stride(k);
      run_line(at, begin, end - begin);
    });
    return;
  }
  parallel(pool, lines, inner, [&](size_t begin, size_t end) {
    for (size_t line = begin; line < end; ++line) run_line(loop.start(line), line * inner, inner);
  });
}

template <typename T, typename R, typename Function>
void apply_line(const T* a, ptrdiff_t a_stride, const T* b, ptrdiff_t b_stride, R* y, size_t count,
                const Function& function) {
  if (a_stride == 1 && b_stride == 1) {
    for (size_t i = 0; i < count; ++i) y[i] = static_cast<R>(function(a[i], b[i]));
  } else if (a_stride == 1 && b_stride == 0) {
    const T right = *b;
    for (size_t i = 0; i < count; ++i) y[i] = static_cast<R>(function(a[i], right));
  } else if (a_stride == 0 && b_stride == 1) {
    const T left = *a;
    for (size_t i = 0; i < count; ++i) y[i] = static_cast<R>(function(left, b[i]));
  } else {
    std::fill_n(y, count, static_cast<R>(function(*a, *b)));  // one element each
  }
}

template <typename T, typename R, typename Function>
void apply(const TensorView& a, const TensorView& b, const TensorView& y, ThreadPool& pool,
           const Function& function) {
  if (checked_count(y.dims) == 0) return;
  const std::array operands{&a.dims, &b.dims};
  const Loop loop(y.dims, operands);
  const T *left = a.data<T>(), *right = b.data<T>();
  R* to = y.data<R>();
  for_lines(loop, pool, [&](const std::array<ptrdiff_t, 3>& at, size_t first, size_t count) {
    apply_line(left + at[0], loop.inner_stride(0), right + at[1], loop.inner_stride(1), to + first,
               count, function);
  });
}

void same_type(const TensorView& a, const TensorView& b) {
  if (a.dtype != b.dtype) {
    fail("inputs are of types {} and {}, expected the same type", name_of(a.dtype),
         name_of(b.dtype));
  }
}

template <typename Function>
void run_arithmetic(RunContext& context, const Function& function) {
  const TensorView &a = context.input(0), &b = context.input(1);
  same_type(a, b);
  const bool known = with_number(a.dtype, [&](auto zero) {
    using T = decltype(zero);
    const TensorView y = context.output(0, a.dtype, broadcast(a.dims, b.dims));
    apply<T, T>(a, b, y, context.pool(), function);
  });
  if (!known) unsupported_type(a.dtype);
}

template <auto function>
Run arithmetic(const PrepareContext&) {
  return [](RunContext& context) { run_arithmetic(context, function); };
}

template <auto function>
Run comparison(const PrepareContext&) {
  return [](RunContext& context) {
    const TensorView &a = context.input(0), &b = context.input(1);
    same_type(a, b);
    const TensorView y = context.output(0, DType::kBool, broadcast(a.dims, b.dims));
    if (a.dtype == DType::kBool) {
      return apply<uint8_t, uint8_t>(a, b, y, context.pool(), function);
    }
    const bool known = with_number(a.dtype, [&](auto zero) {
      apply<decltype(zero), uint8_t>(a, b, y, context.pool(), function);
    });
    if (!known) unsupported_type(a.dtype);
  };
}

template <auto function>
Run logical(const PrepareContext&) {
  return [](RunContext& context) {
    const TensorView &a = context.input(0), &b = context.input(1);
    if (a.dtype != DType::kBool) unsupported_type(a.dtype);
    same_type(a, b);
    const TensorView y = context.output(0, DType::kBool, broadcast(a.dims, b.dims));
    apply<uint8_t, uint8_t>(a, b, y, context.pool(), function);
  };
}

// Integers wrap around as unsigned ones do: overflow comes from the model's data.
template <typename T, typename Function>
T wrapping(T a, T b, const Function& function) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(function(static_cast<uint64_t>(a), static_cast<uint64_t>(b)));
  } else {
    return function(a, b);
  }
}

template <typename T>
T sum_of_two(T a, T b) {
  return wrapping(a, b, [](auto x, auto y) { return x + y; });
}

template <typename T>
T quotient(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    if (b == 0) fail("an integer is divided by zero");
    if constexpr (std::is_signed_v<T>) {
      if (b == -1) return static_cast<T>(uint64_t{0} - static_cast<uint64_t>(a));
    }
  }
  return static_cast<T>(a / b);
}

// The sign of the divisor for integers (Python), of the dividend with fmod = 1 (C).
template <typename T>
T floor_modulo(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    if (b == 0) fail("an integer is divided by zero");
    if constexpr (std::is_signed_v<T>) {
      if (b == -1) return 0;
    }
    const T rest = static_cast<T>(a % b);
    return rest != 0 && ((rest < 0) != (b < 0)) ? static_cast<T>(rest + b) : rest;
  } else {
    const T rest = std::fmod(a, b);
    return rest != 0 && ((rest < 0) != (b < 0)) ? rest + b : rest;
  }
}

template <typename T>
T c_modulo(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    if (b == 0) fail("an integer is divided by zero");
    if constexpr (std::is_signed_v<T>) {
      if (b == -1) return 0;
    }
    return static_cast<T>(a % b);
  } else {
    return std::fmod(a, b);
  }
}

Run prepare_mod(const PrepareContext& context) {
  if (int_attribute(context.node, "fmod", 0) != 0) {
    return arithmetic<[](auto a, auto b) { return c_modulo(a, b); }>(context);
  }
  return arithmetic<[](auto a, auto b) { return floor_modulo(a, b); }>(context);
}

template <typename T>
T power(T base, T exponent) {
  if constexpr (std::is_integral_v<T>) {
    if (exponent < 0)
      return base == 1 ? 1 : (base == static_cast<T>(-1) ? (exponent % 2 == 0 ? 1 : base) : 0);
    uint64_t result = 1, square = static_cast<uint64_t>(base);
    for (auto left = static_cast<uint64_t>(exponent); left != 0; left >>= 1, square *= square) {
      if ((left & 1) != 0) result *= square;
    }
    return static_cast<T>(result);
  } else {
    if (exponent == 2) return base * base;
    return std::pow(base, exponent);
  }
}

// The exponent may be of another type than the base.
Run prepare_pow(const PrepareContext&) {
  return [](RunContext& context) {
    const TensorView& base = context.input(0);
    TensorView exponent = context.input(1);
    const bool known = with_number(base.dtype, [&](auto zero) {
      using T = decltype(zero);
      const auto power_of = [](T a, T b) { return power(a, b); };
      if (exponent.dtype != base.dtype) {
        auto* converted = reinterpret_cast<T*>(context.scratch(exponent.count() * sizeof(T)));
        const bool convertible = with_number(exponent.dtype, [&](auto other) {
          const auto* from = exponent.data<decltype(other)>();
          for (size_t i = 0; i < exponent.count(); ++i) converted[i] = static_cast<T>(from[i]);
        });
        if (!convertible) unsupported_type(exponent.dtype);
        exponent = {base.dtype, exponent.dims, reinterpret_cast<std::byte*>(converted)};
      }
      const TensorView y = context.output(0, base.dtype, broadcast(base.dims, exponent.dims));
      apply<T, T>(base, exponent, y, context.pool(), power_of);
    });
    if (!known) unsupported_type(base.dtype);
  };
}

// NaN wins, as in onnxruntime and NumPy.
template <typename T>
T larger(T a, T b) {
  return a > b || a != a ? a : b;
}
template <typename T>
T smaller(T a, T b) {
  return a < b || a != a ? a : b;
}

// Any number of inputs of one type; `mean` divides by their number.
template <auto function, bool mean = false>
Run variadic(const PrepareContext&) {
  return [](RunContext& context) {
    const size_t count = context.inputs();
    if (count == 0) fail("there are no inputs");
    const TensorView& first = context.input(0);
    Dims dims = first.dims;
    for (size_t i = 1; i < count; ++i) {
      same_type(first, context.input(i));
      dims = broadcast(dims, context.input(i).dims);
    }
    const bool known = with_number(first.dtype, [&](auto zero) {
      using T = decltype(zero);
      const TensorView y = context.output(0, first.dtype, dims);
      if (count == 1) {
        std::copy_n(first.data<T>(), first.count(), y.data<T>());
        return;
      }
      apply<T, T>(first, context.input(1), y, context.pool(), function);
      for (size_t i = 2; i < count; ++i) {
        apply<T, T>(y, context.input(i), y, context.pool(), function);
      }
      if (!mean) return;
      for (size_t i = 0; i < y.count(); ++i) y.data<T>()[i] /= static_cast<T>(count);
    });
    if (!known) unsupported_type(first.dtype);
  };
}

// f32 lines through the vector kernels.
template <auto vector, auto with_scalar, auto function>
void run_line_f32(const float* a, ptrdiff_t a_stride, const float* b, ptrdiff_t b_stride, float* y,
                  size_t count) {
  if (a_stride == 1 && b_stride == 1) return vector({a, count}, {b, count}, {y, count});
  if constexpr (!std::is_null_pointer_v<decltype(with_scalar)>) {
    if (a_stride == 1 && b_stride == 0) return with_scalar({a, count}, *b, {y, count});
    if (a_stride == 0 && b_stride == 1) return with_scalar({b, count}, *a, {y, count});
  }
  apply_line(a, a_stride, b, b_stride, y, count, function);
}

using Vector = void (*)(std::span<const float>, std::span<const float>, std::span<float>);
using WithScalar = void (*)(std::span<const float>, float, std::span<float>);

template <auto vector, auto with_scalar, auto function>
Run fast_arithmetic(const PrepareContext&) {
  return [](RunContext& context) {
    const TensorView &a = context.input(0), &b = context.input(1);
    if (a.dtype != DType::kF32 || b.dtype != DType::kF32) return run_arithmetic(context, function);
    const TensorView y = context.output(0, DType::kF32, broadcast(a.dims, b.dims));
    if (y.count() == 0) return;
    const std::array operands{&a.dims, &b.dims};
    const Loop loop(y.dims, operands);
    const float *left = a.data<float>(), *right = b.data<float>();
    for_lines(loop, context.pool(), [&](const auto& at, size_t first, size_t count) {
      run_line_f32<vector, with_scalar, function>(left + at[0], loop.inner_stride(0), right + at[1],
                                                  loop.inner_stride(1), y.data<float>() + first,
                                                  count);
    });
  };
}

template <typename T>
void run_where(const TensorView& condition, const TensorView& a, const TensorView& b,
               const TensorView& y, ThreadPool& pool) {
  const std::array operands{&condition.dims, &a.dims, &b.dims};
  const Loop loop(y.dims, operands);
  const auto* chosen = condition.data<uint8_t>();
  const T *left = a.data<T>(), *right = b.data<T>();
  T* to = y.data<T>();
  for_lines(loop, pool, [&](const auto& at, size_t first, size_t count) {
    for (size_t i = 0; i < count; ++i) {
      const auto step = static_cast<ptrdiff_t>(i);
      to[first + i] = chosen[at[0] + step * loop.inner_stride(0)] != 0
                          ? left[at[1] + step * loop.inner_stride(1)]
                          : right[at[2] + step * loop.inner_stride(2)];
    }
  });
}

Run prepare_where(const PrepareContext&) {
  return [](RunContext& context) {
    const TensorView &condition = context.input(0), &a = context.input(1), &b = context.input(2);
    if (condition.dtype != DType::kBool) unsupported_type(condition.dtype);
    same_type(a, b);
    const Dims dims = broadcast(condition.dims, broadcast(a.dims, b.dims));
    const TensorView y = context.output(0, a.dtype, dims);
    if (y.count() == 0) return;
    switch (bytes_in_view(a.dtype)) {
      case 1:
        return run_where<uint8_t>(condition, a, b, y, context.pool());
      case 2:
        return run_where<uint16_t>(condition, a, b, y, context.pool());
      case 4:
        return run_where<uint32_t>(condition, a, b, y, context.pool());
      case 8:
        return run_where<uint64_t>(condition, a, b, y, context.pool());
      default:
        unsupported_type(a.dtype);
    }
  };
}

// A missing bound is that of the type.
template <typename T>
void clip_elements(RunContext& context, std::optional<T> low, std::optional<T> high) {
  const TensorView& x = context.input(0);
  const T* from = x.data<T>();
  T* to = context.output(0, x.dtype, x.dims).data<T>();
  const T least = low.value_or(std::numeric_limits<T>::lowest());
  const T most = high.value_or(std::numeric_limits<T>::max());
  parallel(context.pool(), x.count(), 1, [&](size_t begin, size_t end) {
    if constexpr (std::is_same_v<T, float>) {
      clip({from + begin, end - begin}, least, most, {to + begin, end - begin});
    } else {
      for (size_t i = begin; i < end; ++i) {
        const T raised = from[i] < least ? least : from[i];
        to[i] = raised > most ? most : raised;
      }
    }
  });
}

Run prepare_clip(const PrepareContext& context) {
  std::array<std::optional<float>, 2> bounds;
  if (const auto* low = find_attribute(context.node, "min"); low != nullptr) {
    bounds[0] = float_attribute(context.node, "min", 0);
  }
  if (const auto* high = find_attribute(context.node, "max"); high != nullptr) {
    bounds[1] = float_attribute(context.node, "max", 0);
  }
  return [bounds](RunContext& run) {
    const bool known = with_number(run.input(0).dtype, [&](auto zero) {
      using T = decltype(zero);
      std::array<std::optional<T>, 2> limits;
      for (size_t i = 0; i < 2; ++i) {
        if (bounds[i]) limits[i] = static_cast<T>(*bounds[i]);
        if (!run.has_input(1 + i)) continue;
        same_type(run.input(0), run.input(1 + i));
        if (run.input(1 + i).count() != 1) fail("a bound has more than one value");
        limits[i] = *run.input(1 + i).data<T>();
      }
      clip_elements<T>(run, limits[0], limits[1]);
    });
    if (!known) unsupported_type(run.input(0).dtype);
  };
}

constexpr auto kAdd = [](auto a, auto b) { return sum_of_two(a, b); };
constexpr auto kSubtract = [](auto a, auto b) {
  return wrapping(a, b, [](auto x, auto y) { return x - y; });
};
constexpr auto kMultiply = [](auto a, auto b) {
  return wrapping(a, b, [](auto x, auto y) { return x * y; });
};
constexpr auto kSlope = [](auto x, auto slope) {
  return x < 0 ? static_cast<decltype(x)>(x * slope) : x;
};

}  // namespace

constinit const Operator add_operator{
    .name = "Add",
    .prepare = fast_arithmetic<static_cast<Vector>(add), static_cast<WithScalar>(add), kAdd>,
    .half_as_f32 = true};
constinit const Operator sub_operator{
    .name = "Sub",
    .prepare = fast_arithmetic<static_cast<Vector>(subtract), nullptr, kSubtract>,
    .half_as_f32 = true};
constinit const Operator mul_operator{
    .name = "Mul",
    .prepare = fast_arithmetic<static_cast<Vector>(multiply), static_cast<WithScalar>(multiply),
                               kMultiply>,
    .half_as_f32 = true};
constinit const Operator div_operator{
    .name = "Div",
    .prepare = fast_arithmetic<divide, nullptr, [](auto a, auto b) { return quotient(a, b); }>,
    .half_as_f32 = true};
constinit const Operator mod_operator{.name = "Mod", .prepare = prepare_mod, .half_as_f32 = true};
constinit const Operator pow_operator{.name = "Pow", .prepare = prepare_pow, .half_as_f32 = true};
constinit const Operator prelu_operator{
    .name = "PRelu", .prepare = arithmetic<kSlope>, .half_as_f32 = true};

constinit const Operator max_operator{
    .name = "Max",
    .prepare = variadic<[](auto a, auto b) { return larger(a, b); }>,
    .half_as_f32 = true};
constinit const Operator min_operator{
    .name = "Min",
    .prepare = variadic<[](auto a, auto b) { return smaller(a, b); }>,
    .half_as_f32 = true};
constinit const Operator sum_operator{
    .name = "Sum", .prepare = variadic<kAdd>, .half_as_f32 = true};
constinit const Operator mean_operator{
    .name = "Mean", .prepare = variadic<kAdd, true>, .half_as_f32 = true};

constinit const Operator equal_operator{
    .name = "Equal",
    .prepare = comparison<[](auto a, auto b) { return a == b; }>,
    .half_as_f32 = true};
constinit const Operator less_operator{.name = "Less",
                                       .prepare = comparison<[](auto a, auto b) { return a < b; }>,
                                       .half_as_f32 = true};
constinit const Operator less_or_equal_operator{
    .name = "LessOrEqual",
    .prepare = comparison<[](auto a, auto b) { return a <= b; }>,
    .half_as_f32 = true};
constinit const Operator greater_operator{
    .name = "Greater",
    .prepare = comparison<[](auto a, auto b) { return b < a; }>,
    .half_as_f32 = true};
constinit const Operator greater_or_equal_operator{
    .name = "GreaterOrEqual",
    .prepare = comparison<[](auto a, auto b) { return b <= a; }>,
    .half_as_f32 = true};

constinit const Operator logical_and_operator{
    .name = "And", .prepare = logical<[](auto a, auto b) { return (a & b) != 0; }>};
constinit const Operator logical_or_operator{
    .name = "Or", .prepare = logical<[](auto a, auto b) { return (a | b) != 0; }>};
constinit const Operator logical_xor_operator{
    .name = "Xor", .prepare = logical<[](auto a, auto b) { return (a != 0) != (b != 0); }>};

constinit const Operator where_operator{.name = "Where", .prepare = prepare_where};
constinit const Operator clip_operator{
    .name = "Clip", .prepare = prepare_clip, .half_as_f32 = true};

}  // namespace espalier
