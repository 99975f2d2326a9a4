// Functions of every element by Highway.
#include "lib/kernels/elementwise/elementwise.h"

#include <algorithm>
#include <limits>

#include "lib/base/check.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/elementwise/elementwise.cpp"
#include <hwy/foreach_target.h>  // compiles this file once per instruction set
#include <hwy/highway.h>
// after highway.h
#include "lib/kernels/elementwise/activation-inl.h"
#include "lib/kernels/held_vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace espalier::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

HWY_INLINE V keep_nan(V x, V y) { return hn::IfThenElse(hn::IsNaN(x), x, y); }

struct Exp {
  HWY_INLINE V operator()(D d, V x) const { return exp_of(d, x); }
};
struct Sigmoid {
  HWY_INLINE V operator()(D d, V x) const { return sigmoid_of(d, x); }
};
struct Tanh {
  HWY_INLINE V operator()(D d, V x) const { return tanh_of(d, x); }
};
struct Relu {
  HWY_INLINE V operator()(D d, V x) const {
    return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Zero(d), x);
  }
};
// Polynomials by N. Juffa for |x| below and above 475/512, largest error about 1 ulp.
HWY_INLINE V erf_of(D d, V x) {
  const auto fma = [d](V a, V b, float c) { return hn::MulAdd(a, b, hn::Set(d, c)); };
  const V t = hn::Min(hn::Abs(x), hn::Set(d, 4.0F));  // erf rounds to 1 from 3.92 on
  const V s = hn::Mul(t, t);
  V far = fma(hn::Set(d, -1.72853470e-5F), t, 3.83197126e-4F);
  far = hn::MulAdd(far, s, fma(hn::Set(d, -3.88396438e-3F), t, 2.42546219e-2F));
  far = fma(far, t, -1.06777877e-1F);
  far = fma(far, t, -6.34846687e-1F);
  far = fma(far, t, -1.28717512e-1F);
  far = hn::MulAdd(far, t, hn::Neg(t));
  far = hn::CopySign(hn::Sub(hn::Set(d, 1.0F), exp_of(d, far)), x);
  V near = fma(hn::Set(d, -5.96761703e-4F), s, 4.99119423e-3F);
  near = fma(near, s, -2.67681349e-2F);
  near = fma(near, s, 1.12819925e-1F);
  near = fma(near, s, -3.76125336e-1F);
  near = fma(near, s, 1.28379166e-1F);
  near = hn::MulAdd(near, x, x);
  return keep_nan(x, hn::IfThenElse(hn::Gt(t, hn::Set(d, 475.0F / 512)), far, near));
}

struct Erf {
  HWY_INLINE V operator()(D d, V x) const { return erf_of(d, x); }
};
struct Gelu {
  HWY_INLINE V operator()(D d, V x) const {
    const V half = hn::Mul(x, hn::Set(d, 0.5F));
    const V gate = erf_of(d, hn::Mul(x, hn::Set(d, 0.70710678118654752F)));
    return hn::Mul(half, hn::Add(hn::Set(d, 1.0F), gate));
  }
};
struct GeluTanh {
  // (1 + tanh u) / 2 = sigmoid(2 u), without the cancellation
  HWY_INLINE V operator()(D d, V x) const {
    const V inner = hn::MulAdd(hn::Mul(hn::Mul(x, x), x), hn::Set(d, 0.044715F), x);
    return hn::Mul(x, sigmoid_of(d, hn::Mul(inner, hn::Set(d, 1.5957691216057308F))));
  }
};
struct Swish {
  float alpha;
  HWY_INLINE V operator()(D d, V x) const {
    return hn::Mul(x, sigmoid_of(d, hn::Mul(x, hn::Set(d, alpha))));
  }
};
HWY_INLINE V unit_clamp(D d, V x) { return hn::Min(hn::Max(x, hn::Zero(d)), hn::Set(d, 1.0F)); }
struct HardSigmoid {
  float alpha, beta;
  HWY_INLINE V operator()(D d, V x) const {
    const V line = hn::MulAdd(x, hn::Set(d, alpha), hn::Set(d, beta));
    return keep_nan(line, unit_clamp(d, line));
  }
};
struct HardSwish {
  HWY_INLINE V operator()(D d, V x) const {
    return hn::Mul(x, unit_clamp(d, hn::MulAdd(x, hn::Set(d, 1.0F / 6), hn::Set(d, 0.5F))));
  }
};
struct LeakyRelu {
  float alpha;
  HWY_INLINE V operator()(D d, V x) const {
    return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Mul(x, hn::Set(d, alpha)), x);
  }
};
struct Clip {
  float low, high;
  HWY_INLINE V operator()(D d, V x) const {
    const V least = hn::Set(d, low), most = hn::Set(d, high);
    const V raised = hn::IfThenElse(hn::Lt(x, least), least, x);
    return hn::IfThenElse(hn::Gt(raised, most), most, raised);
  }
};
struct Affine {
  float scale, shift;
  HWY_INLINE V operator()(D d, V x) const {
    return hn::MulAdd(x, hn::Set(d, scale), hn::Set(d, shift));
  }
};
struct Divide {
  HWY_INLINE V operator()(D, V a, V b) const { return hn::Div(a, b); }
};
struct Add {
  HWY_INLINE V operator()(D, V a, V b) const { return hn::Add(a, b); }
};
struct Subtract {
  HWY_INLINE V operator()(D, V a, V b) const { return hn::Sub(a, b); }
};
struct Multiply {
  HWY_INLINE V operator()(D, V a, V b) const { return hn::Mul(a, b); }
};
struct MultiplyAdd {
  HWY_INLINE V operator()(D, V a, V b, V y) const { return hn::MulAdd(a, b, y); }
};
struct Blend {
  HWY_INLINE V operator()(D, V a, V b, V t) const {
    return hn::MulAdd(b, t, hn::NegMulAdd(a, t, a));
  }
};

// One input through a buffer of one vector: the end that does not fill a vector.
struct Tail {
  HWY_ALIGN float lanes[HWY_LANES(float)] = {};
  Tail(const float* x, size_t count) { std::copy_n(x, count, lanes); }
};

// y[i] = f(inputs[i]...)
template <class F, class... Inputs>
HWY_INLINE void transform(F f, float* y, size_t count, const Inputs*... inputs) {
  const D d;
  size_t i = 0;
  for (; i + hn::Lanes(d) <= count; i += hn::Lanes(d))
    hn::StoreU(f(d, hn::LoadU(d, inputs + i)...), d, y + i);
  if (i == count) return;
  Tail result(y, 0);
  hn::Store(f(d, hn::Load(d, Tail(inputs + i, count - i).lanes)...), d, result.lanes);
  std::copy_n(result.lanes, count - i, y + i);
}

void exp_run(const float* x, float* y, size_t count) { transform(Exp{}, y, count, x); }
void sigmoid_run(const float* x, float* y, size_t count) { transform(Sigmoid{}, y, count, x); }
void tanh_run(const float* x, float* y, size_t count) { transform(Tanh{}, y, count, x); }
void relu_run(const float* x, float* y, size_t count) { transform(Relu{}, y, count, x); }
void add_run(const float* a, const float* b, float* y, size_t count) {
  transform(Add{}, y, count, a, b);
}
void subtract_run(const float* a, const float* b, float* y, size_t count) {
  transform(Subtract{}, y, count, a, b);
}
void multiply_run(const float* a, const float* b, float* y, size_t count) {
  transform(Multiply{}, y, count, a, b);
}
void multiply_add_run(const float* a, const float* b, float* y, size_t count) {
  transform(MultiplyAdd{}, y, count, a, b, static_cast<const float*>(y));
}
void blend_run(const float* a, const float* b, const float* t, float* y, size_t count) {
  transform(Blend{}, y, count, a, b, t);
}

struct AddScalar {
  float b;
  HWY_INLINE V operator()(D d, V a) const { return hn::Add(a, hn::Set(d, b)); }
};
struct MultiplyScalar {
  float b;
  HWY_INLINE V operator()(D d, V a) const { return hn::Mul(a, hn::Set(d, b)); }
};
void add_scalar_run(const float* a, float b, float* y, size_t count) {
  transform(AddScalar{b}, y, count, a);
}
void multiply_scalar_run(const float* a, float b, float* y, size_t count) {
  transform(MultiplyScalar{b}, y, count, a);
}

void erf_run(const float* x, float* y, size_t count) { transform(Erf{}, y, count, x); }
void gelu_run(const float* x, float* y, size_t count) { transform(Gelu{}, y, count, x); }
void gelu_tanh_run(const float* x, float* y, size_t count) { transform(GeluTanh{}, y, count, x); }
void swish_run(const float* x, float alpha, float* y, size_t count) {
  transform(Swish{alpha}, y, count, x);
}
void hard_sigmoid_run(const float* x, float alpha, float beta, float* y, size_t count) {
  transform(HardSigmoid{alpha, beta}, y, count, x);
}
void hard_swish_run(const float* x, float* y, size_t count) { transform(HardSwish{}, y, count, x); }
void leaky_relu_run(const float* x, float alpha, float* y, size_t count) {
  transform(LeakyRelu{alpha}, y, count, x);
}
void clip_run(const float* x, float low, float high, float* y, size_t count) {
  transform(Clip{low, high}, y, count, x);
}
void affine_run(const float* x, float scale, float shift, float* y, size_t count) {
  transform(Affine{scale, shift}, y, count, x);
}
void divide_run(const float* a, const float* b, float* y, size_t count) {
  transform(Divide{}, y, count, a, b);
}

float max_run(const float* x, size_t count) {
  const D d;
  V largest = hn::Set(d, -std::numeric_limits<float>::infinity());
  auto nan = hn::IsNaN(largest);
  size_t i = 0;
  for (; i + hn::Lanes(d) <= count; i += hn::Lanes(d)) {
    const V value = hn::LoadU(d, x + i);
    largest = hn::Max(largest, value);
    nan = hn::Or(nan, hn::IsNaN(value));
  }
  if (!hn::AllFalse(d, nan)) return std::numeric_limits<float>::quiet_NaN();
  float result = hn::GetLane(hn::MaxOfLanes(d, largest));
  for (; i < count; ++i) {
    if (x[i] != x[i]) return x[i];
    result = std::max(result, x[i]);
  }
  return result;
}

float sum_run(const float* x, size_t count) {
  const D d;
  Held<D> sum[4] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + 4 * lanes <= count; i += 4 * lanes)
    for (size_t part = 0; part < 4; ++part)
      sum[part] = hn::Add(sum[part], hn::LoadU(d, x + i + part * lanes));
  for (; i + lanes <= count; i += lanes) sum[0] = hn::Add(sum[0], hn::LoadU(d, x + i));
  const V all = hn::Add(hn::Add(sum[0], sum[1]), hn::Add(sum[2], sum[3]));
  float result = hn::GetLane(hn::SumOfLanes(d, all));
  for (; i < count; ++i) result += x[i];
  return result;
}

// Sums of f(i-th vector), four at a time; the end is put into a vector of `padding`, whose f is 0.
template <class F>
float sum_by(const float* x, size_t count, float padding, F f) {
  const D d;
  Held<D> sum[4] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + 4 * lanes <= count; i += 4 * lanes)
    for (size_t part = 0; part < 4; ++part)
      sum[part] = hn::Add(sum[part], f(i + part * lanes, hn::LoadU(d, x + i + part * lanes)));
  for (; i + lanes <= count; i += lanes) sum[0] = hn::Add(sum[0], f(i, hn::LoadU(d, x + i)));
  if (i != count) {
    Tail tail(x + i, count - i);
    std::fill(tail.lanes + (count - i), tail.lanes + lanes, padding);
    sum[1] = hn::Add(sum[1], f(i, hn::Load(d, tail.lanes)));
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(sum[0], sum[1]), hn::Add(sum[2], sum[3]))));
}

float exp_sum_run(const float* x, float shift, float* y, size_t count) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  return sum_by(x, count, -std::numeric_limits<float>::infinity(), [&](size_t i, V value) {
    const V result = exp_of(d, hn::Sub(value, hn::Set(d, shift)));
    if (i + lanes <= count) {
      hn::StoreU(result, d, y + i);
      return result;
    }
    Tail tail(y, 0);
    hn::Store(result, d, tail.lanes);
    std::copy_n(tail.lanes, count - i, y + i);
    return hn::IfThenElseZero(hn::FirstN(d, count - i), result);
  });
}
float squares_around_run(const float* x, float mean, size_t count) {
  const D d;
  return sum_by(x, count, mean, [&](size_t, V value) {
    const V apart = hn::Sub(value, hn::Set(d, mean));
    return hn::Mul(apart, apart);
  });
}

struct Normalize {
  float mean, factor;
  HWY_INLINE V operator()(D d, V x, V scale, V bias) const {
    const V apart = hn::Mul(hn::Sub(x, hn::Set(d, mean)), hn::Set(d, factor));
    return hn::MulAdd(apart, scale, bias);
  }
};
// The larger one of each lane; NaN wins.
template <class V>
HWY_INLINE V larger(V a, V b) {
  return hn::IfThenElse(hn::Or(hn::Gt(b, a), hn::IsNaN(b)), b, a);
}

void halve_max_run(const float* x, size_t rows, size_t width, size_t places, float* y) {
  for (; rows > 0; --rows, x += 2 * width, y += places) {
    size_t k = 0;
#if HWY_TARGET != HWY_SCALAR
    constexpr size_t kLanes = 4;  // lines of small images are short
    const hn::FixedTag<float, kLanes> d;
    for (; k + kLanes <= places; k += kLanes) {
      // Not ConcatEven, which Highway 1.0.3 gets wrong for part of a long SVE vector.
      hn::Vec<decltype(d)> above_left, above_right, below_left, below_right;
      hn::LoadInterleaved2(d, x + 2 * k, above_left, above_right);
      hn::LoadInterleaved2(d, x + 2 * k + width, below_left, below_right);
      hn::StoreU(larger(larger(above_left, below_left), larger(above_right, below_right)), d,
                 y + k);
    }
#endif
    const hn::FixedTag<float, 1> one;
    for (; k < places; ++k) {
      const float* const from = x + 2 * k;
      const auto at = [&](size_t i) HWY_ATTR { return hn::Set(one, from[i]); };
      y[k] = hn::GetLane(larger(larger(at(0), at(width)), larger(at(1), at(width + 1))));
    }
  }
}

void normalize_run(const float* x, float mean, float factor, const float* scale, const float* bias,
                   float* y, size_t count) {
  transform(Normalize{mean, factor}, y, count, x, scale, bias);
}

}  // namespace
}  // namespace espalier::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace espalier {

HWY_EXPORT(exp_run);
HWY_EXPORT(sigmoid_run);
HWY_EXPORT(tanh_run);
HWY_EXPORT(relu_run);
HWY_EXPORT(add_run);
HWY_EXPORT(subtract_run);
HWY_EXPORT(multiply_run);
HWY_EXPORT(multiply_add_run);
HWY_EXPORT(blend_run);
HWY_EXPORT(add_scalar_run);
HWY_EXPORT(multiply_scalar_run);
HWY_EXPORT(erf_run);
HWY_EXPORT(gelu_run);
HWY_EXPORT(gelu_tanh_run);
HWY_EXPORT(swish_run);
HWY_EXPORT(hard_sigmoid_run);
HWY_EXPORT(hard_swish_run);
HWY_EXPORT(leaky_relu_run);
HWY_EXPORT(clip_run);
HWY_EXPORT(affine_run);
HWY_EXPORT(divide_run);
HWY_EXPORT(max_run);
HWY_EXPORT(sum_run);
HWY_EXPORT(exp_sum_run);
HWY_EXPORT(squares_around_run);
HWY_EXPORT(normalize_run);
HWY_EXPORT(halve_max_run);

namespace {
void check_lengths(size_t x, size_t y) { ESPALIER_CHECK(x == y); }
}  // namespace

void exp(std::span<const float> x, std::span<float> y) {
  check_lengths(x.size(), y.size());
  HWY_DYNAMIC_DISPATCH(exp_run)(x.data(), y.data(), y.size());
}
void sigmoid(std::span<const float> x, std::span<float> y) {
  check_lengths(x.size(), y.size());
  HWY_DYNAMIC_DISPATCH(sigmoid_run)(x.data(), y.data(), y.size());
}
void tanh(std::span<const float> x, std::span<float> y) {
  check_lengths(x.size(), y.size());
  HWY_DYNAMIC_DISPATCH(tanh_run)(x.data(), y.data(), y.size());
}
void relu(std::span<const float> x, std::span<float> y) {
  check_lengths(x.size(), y.size());
  HWY_DYNAMIC_DISPATCH(relu_run)(x.data(), y.data(), y.size());
}
void erf(std::span<const float> x, std::span<float> y) {
  check_lengths(x.size(), y.size());
  HWY_DYNAMIC_DISPATCH(erf_run)(x.data(), y.data(), y.size());
}
void gelu(std::span<const float> x, std::span<float> y) {
  check_lengths(x.size(), y.size());
  HWY_DYNAMIC_DISPATCH(gelu_run)(x.data(), y.data(), y.size());
}
void gelu_tanh(std::span<const float> x, std::span<float> y) {
  check_lengths(x.size(), y.size());
  HWY_DYNAMIC_DISPATCH(gelu_tanh_run)(x.data(), y.data(), y.size());
}
void swish(std::span<const float> x, float alpha, std::span<float> y) {
  check_lengths(x.size(), y.size());
  HWY_DYNAMIC_DISPATCH(swish_run)(x.data(), alpha, y.data(), y.size());
}
void hard_sigmoid(std::span<const float> x, float alpha, float beta, std::span<float> y) {
  check_lengths(x.size(), y.size());
  HWY_DYNAMIC_DISPATCH(hard_sigmoid_run)(x.data(), alpha, beta, y.data(), y.size());
}
void hard_swish(std::span<const float> x, std::span<float> y) {
  check_lengths(x.size(), y.size());
  HWY_DYNAMIC_DISPATCH(hard_swish_run)(x.data(), y.data(), y.size());
}
void leaky_relu(std::span<const float> x, float alpha, std::span<float> y) {
  check_lengths(x.size(), y.size());
  HWY_DYNAMIC_DISPATCH(leaky_relu_run)(x.data(), alpha, y.data(), y.size());
}
void clip(std::span<const float> x, float low, float high, std::span<float> y) {
  check_lengths(x.size(), y.size());
  HWY_DYNAMIC_DISPATCH(clip_run)(x.data(), low, high, y.data(), y.size());
}
void affine(std::span<const float> x, float scale, float shift, std::span<float> y) {
  check_lengths(x.size(), y.size());
  HWY_DYNAMIC_DISPATCH(affine_run)(x.data(), scale, shift, y.data(), y.size());
}
void divide(std::span<const float> a, std::span<const float> b, std::span<float> y) {
  check_lengths(a.size(), y.size());
  check_lengths(b.size(), y.size());
  HWY_DYNAMIC_DISPATCH(divide_run)(a.data(), b.data(), y.data(), y.size());
}
void add(std::span<const float> a, std::span<const float> b, std::span<float> y) {
  check_lengths(a.size(), y.size());
  check_lengths(b.size(), y.size());
  HWY_DYNAMIC_DISPATCH(add_run)(a.data(), b.data(), y.data(), y.size());
}
void subtract(std::span<const float> a, std::span<const float> b, std::span<float> y) {
  check_lengths(a.size(), y.size());
  check_lengths(b.size(), y.size());
  HWY_DYNAMIC_DISPATCH(subtract_run)(a.data(), b.data(), y.data(), y.size());
}
void multiply(std::span<const float> a, std::span<const float> b, std::span<float> y) {
  check_lengths(a.size(), y.size());
  check_lengths(b.size(), y.size());
  HWY_DYNAMIC_DISPATCH(multiply_run)(a.data(), b.data(), y.data(), y.size());
}
void multiply_add(std::span<const float> a, std::span<const float> b, std::span<float> y) {
  check_lengths(a.size(), y.size());
  check_lengths(b.size(), y.size());
  HWY_DYNAMIC_DISPATCH(multiply_add_run)(a.data(), b.data(), y.data(), y.size());
}
void blend(std::span<const float> a, std::span<const float> b, std::span<const float> t,
           std::span<float> y) {
  check_lengths(a.size(), y.size());
  check_lengths(b.size(), y.size());
  check_lengths(t.size(), y.size());
  HWY_DYNAMIC_DISPATCH(blend_run)(a.data(), b.data(), t.data(), y.data(), y.size());
}
void add(std::span<const float> a, float b, std::span<float> y) {
  check_lengths(a.size(), y.size());
  HWY_DYNAMIC_DISPATCH(add_scalar_run)(a.data(), b, y.data(), y.size());
}
void multiply(std::span<const float> a, float b, std::span<float> y) {
  check_lengths(a.size(), y.size());
  HWY_DYNAMIC_DISPATCH(multiply_scalar_run)(a.data(), b, y.data(), y.size());
}
float exp_sum(std::span<const float> x, float shift, std::span<float> y) {
  check_lengths(x.size(), y.size());
  return HWY_DYNAMIC_DISPATCH(exp_sum_run)(x.data(), shift, y.data(), y.size());
}
float squares_around(std::span<const float> x, float mean) {
  return HWY_DYNAMIC_DISPATCH(squares_around_run)(x.data(), mean, x.size());
}
void normalize(std::span<const float> x, float mean, float factor, std::span<const float> scale,
               std::span<const float> bias, std::span<float> y) {
  check_lengths(x.size(), y.size());
  check_lengths(scale.size(), y.size());
  check_lengths(bias.size(), y.size());
  HWY_DYNAMIC_DISPATCH(normalize_run)
  (x.data(), mean, factor, scale.data(), bias.data(), y.data(), y.size());
}
void halve_max(std::span<const float> x, size_t width, size_t places, std::span<float> y) {
  ESPALIER_CHECK(2 * places <= width && y.size() % places == 0);
  ESPALIER_CHECK(x.size() >= y.size() / places * 2 * width);
  HWY_DYNAMIC_DISPATCH(halve_max_run)(x.data(), y.size() / places, width, places, y.data());
}
float max_of(std::span<const float> x) { return HWY_DYNAMIC_DISPATCH(max_run)(x.data(), x.size()); }
float sum_of(std::span<const float> x) { return HWY_DYNAMIC_DISPATCH(sum_run)(x.data(), x.size()); }

}  // namespace espalier
#endif  // HWY_ONCE
