#include "lib/kernels/recurrent/activation.h"

#include <algorithm>
#include <cmath>

#include "lib/kernels/elementwise/elementwise.h"

namespace espalier {
namespace {

template <typename Function>
void each(std::span<float> values, const Function& function) {
  for (float& value : values) value = function(value);
}

}  // namespace

// Source ONNX, RNN: activation functions and their alpha and beta.
void Activation::apply(std::span<float> v) const {
  const float a = alpha, b = beta;
  switch (kind) {
    case Kind::kSigmoid:
      return sigmoid(v, v);
    case Kind::kTanh:
      return tanh(v, v);
    case Kind::kRelu:
      return relu(v, v);
    case Kind::kAffine:
      return each(v, [=](float x) { return a * x + b; });
    case Kind::kLeakyRelu:
      return each(v, [=](float x) { return x < 0 ? a * x : x; });
    case Kind::kThresholdedRelu:
      return each(v, [=](float x) { return x > a ? x : 0; });
    case Kind::kScaledTanh:
      return each(v, [=](float x) { return a * std::tanh(b * x); });
    case Kind::kHardSigmoid:
      return each(v, [=](float x) { return std::clamp(a * x + b, 0.0F, 1.0F); });
    case Kind::kElu:
      return each(v, [=](float x) { return x < 0 ? a * std::expm1(x) : x; });
    case Kind::kSoftsign:
      return each(v, [](float x) { return x / (1 + std::fabs(x)); });
    case Kind::kSoftplus:
      return each(v,
                  [](float x) { return std::max(x, 0.0F) + std::log1p(std::exp(-std::fabs(x))); });
  }
}

}  // namespace espalier
