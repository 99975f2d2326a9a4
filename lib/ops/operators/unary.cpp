// Functions of every element.

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "lib/kernels/elementwise/elementwise.h"
#include "lib/ops/op_util.h"

namespace espalier {
namespace {

// About the cost of exp() in element operations, to decide whether threads are worth waking.
constexpr size_t kCost = 4;

using In = std::span<const float>;
using Out = std::span<float>;

// `function` by value of f32 or f64.
template <typename Function>
Run map_floats(Function function) {
  return [function](RunContext& context) {
    const TensorView& x = context.input(0);
    const bool known = with_float(x.dtype, [&](auto zero) {
      using T = decltype(zero);
      const T* from = x.data<T>();
      T* to = context.output(0, x.dtype, x.dims).template data<T>();
      parallel(context.pool(), x.count(), kCost, [&](size_t begin, size_t end) {
        for (size_t i = begin; i < end; ++i) to[i] = static_cast<T>(function(from[i]));
      });
    });
    if (!known) unsupported_type(x.dtype);
  };
}

template <auto function>
Run map(const PrepareContext&) {
  return map_floats(function);
}

// f32 by a vector kernel, f64 by `exact`.
template <typename Kernel, typename Exact>
Run map_kernel_with(Kernel kernel, Exact exact) {
  return [kernel, slow = map_floats(exact)](RunContext& context) {
    const TensorView& x = context.input(0);
    if (x.dtype != DType::kF32) return slow(context);
    const std::span<const float> from(x.data<float>(), x.count());
    const std::span<float> to(f32_output(context, 0, x.dims), from.size());
    parallel(context.pool(), from.size(), kCost, [&](size_t begin, size_t end) {
      kernel(from.subspan(begin, end - begin), to.subspan(begin, end - begin));
    });
  };
}

template <auto kernel, auto exact>
Run map_kernel(const PrepareContext&) {
  return map_kernel_with(kernel, exact);
}

// Integers too.
template <auto function>
Run map_numbers(const PrepareContext&) {
  return [](RunContext& context) {
    const TensorView& x = context.input(0);
    const bool known = with_number(x.dtype, [&](auto zero) {
      using T = decltype(zero);
      const T* from = x.data<T>();
      T* to = context.output(0, x.dtype, x.dims).template data<T>();
      parallel(context.pool(), x.count(), 1, [&](size_t begin, size_t end) {
        for (size_t i = begin; i < end; ++i) to[i] = static_cast<T>(function(from[i]));
      });
    });
    if (!known) unsupported_type(x.dtype);
  };
}

template <typename Function>
Run test_floats(Function function) {
  return [function](RunContext& context) {
    const TensorView& x = context.input(0);
    auto* to = context.output(0, DType::kBool, x.dims).data<uint8_t>();
    const bool known = with_float(x.dtype, [&](auto zero) {
      const auto* from = x.data<decltype(zero)>();
      for (size_t i = 0; i < x.count(); ++i) to[i] = function(from[i]) ? 1 : 0;
    });
    if (!known) unsupported_type(x.dtype);
  };
}

Run prepare_is_inf(const PrepareContext& context) {
  const bool negative = int_attribute(context.node, "detect_negative", 1) != 0;
  const bool positive = int_attribute(context.node, "detect_positive", 1) != 0;
  return test_floats(
      [negative, positive](auto x) { return std::isinf(x) && (x < 0 ? negative : positive); });
}

Run prepare_not(const PrepareContext&) {
  return [](RunContext& context) {
    const TensorView& x = context.input(0);
    if (x.dtype != DType::kBool) unsupported_type(x.dtype);
    auto* to = context.output(0, DType::kBool, x.dims).data<uint8_t>();
    for (size_t i = 0; i < x.count(); ++i) to[i] = x.data<uint8_t>()[i] == 0 ? 1 : 0;
  };
}

// Magnitude and negation in the unsigned type: the smallest integer has no positive counterpart.
template <typename T>
T negated(T x) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(uint64_t{0} - static_cast<uint64_t>(x));
  } else {
    return -x;
  }
}

template <typename T>
T magnitude(T x) {
  if constexpr (std::is_unsigned_v<T>) {
    return x;
  } else if constexpr (std::is_integral_v<T>) {
    return x < 0 ? negated(x) : x;
  } else {
    return std::fabs(x);
  }
}

template <typename T>
T logistic(T x) {
  return T{1} / (T{1} + std::exp(-x));
}

template <typename T>
T softplus(T x) {  // log(1 + e^x) without overflow
  return std::max(x, T{0}) + std::log1p(std::exp(-std::fabs(x)));
}

float alpha_of(const PrepareContext& context, float fallback) {
  return float_attribute(context.node, "alpha", fallback);
}

Run prepare_hard_sigmoid(const PrepareContext& context) {
  const float beta = float_attribute(context.node, "beta", 0.5F);
  const float alpha = alpha_of(context, 0.2F);
  return map_kernel_with([alpha, beta](In x, Out y) { hard_sigmoid(x, alpha, beta, y); },
                         [alpha, beta](auto x) {
                           using T = decltype(x);
                           return std::clamp(static_cast<T>(alpha) * x + static_cast<T>(beta), T{0},
                                             T{1});
                         });
}

Run prepare_leaky_relu(const PrepareContext& context) {
  const float alpha = alpha_of(context, 0.01F);
  return map_kernel_with([alpha](In x, Out y) { leaky_relu(x, alpha, y); },
                         [alpha](auto x) { return x < 0 ? alpha * x : x; });
}

Run prepare_elu(const PrepareContext& context) {
  return map_floats(
      [alpha = alpha_of(context, 1)](auto x) { return x < 0 ? alpha * std::expm1(x) : x; });
}

Run prepare_celu(const PrepareContext& context) {
  return map_floats(
      [alpha = alpha_of(context, 1)](auto x) { return x < 0 ? alpha * std::expm1(x / alpha) : x; });
}

Run prepare_selu(const PrepareContext& context) {
  const float gamma = float_attribute(context.node, "gamma", 1.05070102214813232421875F);
  return map_floats([alpha = alpha_of(context, 1.67326319217681884765625F), gamma](auto x) {
    return gamma * (x <= 0 ? alpha * std::expm1(x) : x);
  });
}

Run prepare_thresholded_relu(const PrepareContext& context) {
  return map_floats([alpha = alpha_of(context, 1)](auto x) { return x > alpha ? x : 0 * x; });
}

Run prepare_swish(const PrepareContext& context) {
  const float alpha = alpha_of(context, 1);
  return map_kernel_with(
      [alpha](In x, Out y) { swish(x, alpha, y); },
      [alpha](auto x) { return x * logistic(static_cast<decltype(x)>(alpha) * x); });
}

Run prepare_gelu(const PrepareContext& context) {
  if (string_attribute(context.node, "approximate", "none") == "tanh") {
    return map_kernel_with([](In x, Out y) { gelu_tanh(x, y); },
                           [](auto x) {
                             using T = decltype(x);
                             const T inner = static_cast<T>(0.044715) * x * x * x + x;
                             return x / 2 *
                                    (1 + std::tanh(std::sqrt(2 / std::numbers::pi_v<T>) * inner));
                           });
  }
  return map_kernel_with([](In x, Out y) { gelu(x, y); },
                         [](auto x) {
                           using T = decltype(x);
                           return x / 2 * (1 + std::erf(x / std::numbers::sqrt2_v<T>));
                         });
}

Run prepare_shrink(const PrepareContext& context) {
  const float lambda = float_attribute(context.node, "lambd", 0.5F);
  const float bias = float_attribute(context.node, "bias", 0);
  return map_floats([lambda, bias](auto x) {
    using T = decltype(x);
    return x < -lambda ? x + bias : (x > lambda ? x - bias : T{0});
  });
}

}  // namespace

constinit const Operator relu_operator{
    .name = "Relu",
    .prepare = [](const PrepareContext& context) -> Run {
      constexpr auto relu_of = [](auto x) { return x < 0 ? decltype(x){0} : x; };
      const auto kernel = [](std::span<const float> x, std::span<float> y) { relu(x, y); };
      return [fast = map_kernel<kernel, relu_of>(context), slow = map_numbers<relu_of>(context)](
                 RunContext& run) { is_float(run.input(0).dtype) ? fast(run) : slow(run); };
    },
    .half_as_f32 = true};

constinit const Operator sigmoid_operator{
    .name = "Sigmoid",
    .prepare = map_kernel<[](std::span<const float> x, std::span<float> y) { sigmoid(x, y); },
                          [](auto x) { return logistic(x); }>,
    .half_as_f32 = true};
constinit const Operator tanh_operator{
    .name = "Tanh",
    .prepare = map_kernel<[](std::span<const float> x, std::span<float> y) { tanh(x, y); },
                          [](auto x) { return std::tanh(x); }>,
    .half_as_f32 = true};
constinit const Operator exp_operator{
    .name = "Exp",
    .prepare = map_kernel<[](std::span<const float> x, std::span<float> y) { exp(x, y); },
                          [](auto x) { return std::exp(x); }>,
    .half_as_f32 = true};

constinit const Operator erf_operator{
    .name = "Erf",
    .prepare = map_kernel<[](In x, Out y) { erf(x, y); }, [](auto x) { return std::erf(x); }>,
    .half_as_f32 = true};
constinit const Operator hard_swish_operator{
    .name = "HardSwish",
    .prepare = map_kernel<[](In x, Out y) { hard_swish(x, y); },
                          [](auto x) {
                            using T = decltype(x);
                            return x * std::clamp(x / 6 + T{0.5}, T{0}, T{1});
                          }>,
    .half_as_f32 = true};

constinit const Operator abs_operator{.name = "Abs",
                                      .prepare = map_numbers<[](auto x) { return magnitude(x); }>,
                                      .half_as_f32 = true};
constinit const Operator neg_operator{
    .name = "Neg", .prepare = map_numbers<[](auto x) { return negated(x); }>, .half_as_f32 = true};
constinit const Operator sign_operator{
    .name = "Sign",
    .prepare = map_numbers<[](auto x) { return (0 < x) - (x < 0); }>,
    .half_as_f32 = true};
constinit const Operator logical_not_operator{.name = "Not", .prepare = prepare_not};
constinit const Operator is_nan_operator{
    .name = "IsNaN",
    .prepare = [](const PrepareContext&) { return test_floats([](auto x) { return x != x; }); },
    .half_as_f32 = true};
constinit const Operator is_inf_operator{
    .name = "IsInf", .prepare = prepare_is_inf, .half_as_f32 = true};

#define ESPALIER_MAP(id, onnx_name, expression) \
  constinit const Operator id##_operator{       \
      .name = onnx_name, .prepare = map<[](auto x) { return expression; }>, .half_as_f32 = true};
ESPALIER_MAP(log, "Log", std::log(x))
ESPALIER_MAP(sqrt, "Sqrt", std::sqrt(x))
ESPALIER_MAP(reciprocal, "Reciprocal", 1 / x)
ESPALIER_MAP(floor, "Floor", std::floor(x))
ESPALIER_MAP(ceil, "Ceil", std::ceil(x))
ESPALIER_MAP(round, "Round", std::nearbyint(x))  // to nearest even
ESPALIER_MAP(sin, "Sin", std::sin(x))
ESPALIER_MAP(cos, "Cos", std::cos(x))
ESPALIER_MAP(tan, "Tan", std::tan(x))
ESPALIER_MAP(asin, "Asin", std::asin(x))
ESPALIER_MAP(acos, "Acos", std::acos(x))
ESPALIER_MAP(atan, "Atan", std::atan(x))
ESPALIER_MAP(sinh, "Sinh", std::sinh(x))
ESPALIER_MAP(cosh, "Cosh", std::cosh(x))
ESPALIER_MAP(asinh, "Asinh", std::asinh(x))
ESPALIER_MAP(acosh, "Acosh", std::acosh(x))
ESPALIER_MAP(atanh, "Atanh", std::atanh(x))
ESPALIER_MAP(softplus, "Softplus", softplus(x))
ESPALIER_MAP(softsign, "Softsign", x / (1 + std::fabs(x)))
ESPALIER_MAP(mish, "Mish", x* std::tanh(softplus(x)))
#undef ESPALIER_MAP

#define ESPALIER_ACTIVATION(id, onnx_name) \
  constinit const Operator id##_operator{  \
      .name = onnx_name, .prepare = prepare_##id, .half_as_f32 = true};
ESPALIER_ACTIVATION(hard_sigmoid, "HardSigmoid")
ESPALIER_ACTIVATION(leaky_relu, "LeakyRelu")
ESPALIER_ACTIVATION(elu, "Elu")
ESPALIER_ACTIVATION(celu, "Celu")
ESPALIER_ACTIVATION(selu, "Selu")
ESPALIER_ACTIVATION(thresholded_relu, "ThresholdedRelu")
ESPALIER_ACTIVATION(swish, "Swish")
ESPALIER_ACTIVATION(gelu, "Gelu")
ESPALIER_ACTIVATION(shrink, "Shrink")
#undef ESPALIER_ACTIVATION

}  // namespace espalier
