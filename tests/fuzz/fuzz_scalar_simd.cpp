#include <algorithm>

#include "lib/kernels/elementwise/elementwise.h"
#include "lib/kernels/simd_target.h"
#include "lib/tensor/half.h"
#include "tests/fuzz/fuzz_product.h"

namespace {

using namespace espalier;

using Map = void (*)(std::span<const float>, std::span<float>);

struct Function {
  Map run;
  double (*exact)(double);
  double relative, absolute;
};

double sigmoid_of(double x) { return 1 / (1 + std::exp(-x)); }
double relu_of(double x) { return std::max(x, 0.0); }
double gelu_of(double x) { return x / 2 * (1 + std::erf(x / std::sqrt(2.0))); }
double exp_of(double x) { return std::exp(x); }
double tanh_of(double x) { return std::tanh(x); }
double erf_of(double x) { return std::erf(x); }

constexpr Function kFunctions[] = {
    {exp, exp_of, 4e-7, 1e-37}, {sigmoid, sigmoid_of, 4e-7, 1e-37}, {tanh, tanh_of, 4e-7, 1e-37},
    {relu, relu_of, 0, 0},      {erf, erf_of, 4e-7, 2e-7},          {gelu, gelu_of, 1e-6, 2e-6},
};

// Any bits: infinities, not numbers and subnormals too.
std::vector<float> any_floats(FuzzInput& input) {
  std::vector<float> result(input.between(1, 70));
  for (float& value : result) {
    const auto bits = input.number<uint32_t>();
    value = input.coin() ? std::bit_cast<float>(bits) : static_cast<float>(bits % 4096) / 64 - 32;
  }
  return result;
}

void check_function(const Function& function, const std::vector<float>& x) {
  std::vector<float> y(x.size());
  function.run(x, y);
  for (size_t i = 0; i < x.size(); ++i) {
    const double wanted = function.exact(x[i]);
    if (std::isnan(wanted)) {
      ESPALIER_CHECK(std::isnan(y[i]));
      continue;
    }
    const auto rounded = static_cast<float>(wanted);
    if (std::isinf(rounded) || std::abs(rounded) > 3.3e38F) {
      ESPALIER_CHECK(y[i] > 3e38F || y[i] < -3e38F);
    } else {
      ESPALIER_CHECK(std::abs(y[i] - wanted) <=
                     function.relative * std::abs(wanted) + function.absolute);
    }
  }
}

}  // namespace

// Every instruction set of this machine computes what plain code does: products by every kernel
// against the plain one, functions of elements against the C library in f64, sums and maxima.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<std::string> targets = simd_targets();
  FuzzInput input(data, size);
  const Function& function = input.one_of(kFunctions);
  const std::vector<float> x = any_floats(input);
  const FuzzProduct one(input);
  set_simd_target(targets.back());
  const std::vector<float> plain = one.run(*prepare_sparse(one.packed, /*plain=*/true));
  for (const std::string& target : targets) {
    set_simd_target(target);
    check_function(function, x);
    one.check_equal(one.run(*prepare_sparse(one.packed)), plain, one.rounding());
    const bool numbers = std::ranges::none_of(x, [](float v) { return std::isnan(v); });
    if (numbers) ESPALIER_CHECK(max_of(x) == *std::ranges::max_element(x));
    double sum = 0, size_of_sum = 0;
    for (const float v : one.x) sum += v, size_of_sum += std::abs(v);
    ESPALIER_CHECK(std::abs(sum_of(one.x) - sum) <= 1e-5 * size_of_sum);
  }
  set_simd_target(targets.front());
  return 0;
}
