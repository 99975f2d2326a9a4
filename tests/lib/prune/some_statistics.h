#pragma once

#include <random>
#include <vector>

#include "lib/prune/score/statistics.h"
#include "lib/prune/select/selection.h"

namespace espalier::test {

/// `samples` rows of `inputs` correlated numbers about means that are not 0, [samples, inputs].
inline std::vector<double> correlated(size_t samples, size_t inputs, uint32_t seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<double> normal;
  std::vector<double> mixing(inputs * inputs), x(samples * inputs), raw(inputs);
  for (double& v : mixing) v = normal(engine);
  for (size_t s = 0; s < samples; ++s) {
    for (double& v : raw) v = normal(engine);
    for (size_t i = 0; i < inputs; ++i) {
      double sum = 0.3 * static_cast<double>(i % 5);
      for (size_t j = 0; j < inputs; ++j) sum += mixing[i * inputs + j] * raw[j] / 4;
      x[s * inputs + i] = sum + 0.5 * normal(engine);
    }
  }
  return x;
}

inline InputMoments moments_of(const std::vector<double>& x, size_t inputs, size_t first_part,
                               size_t parts) {
  const size_t samples = x.size() / inputs;
  const auto side = static_cast<int64_t>(inputs);
  InputMoments m{first_part, parts, samples, Tensor::zeros(DType::kF64, {side, side}),
                 Tensor::zeros(DType::kF64, {side})};
  const auto second = m.second.mutable_data<double>(), mean = m.mean.mutable_data<double>();
  for (size_t s = 0; s < samples; ++s) {
    for (size_t i = 0; i < inputs; ++i) {
      mean[i] += x[s * inputs + i] / static_cast<double>(samples);
      for (size_t j = 0; j < inputs; ++j) {
        second[i * inputs + j] +=
            x[s * inputs + i] * x[s * inputs + j] / static_cast<double>(samples);
      }
    }
  }
  return m;
}

/// One group of inputs for all parts of each layer that is pruned.
inline Statistics some_statistics(const Model& model, const std::vector<Layer>& layers) {
  Statistics result;
  for (const Layer& layer : layers) {
    if (!layer.left_out.empty()) continue;
    const auto x = correlated(3 * layer.fold.cols, layer.fold.cols, 11);
    result.layers.push_back({layer.weight,
                             fingerprint_of(weight_of(model, layer)),
                             {moments_of(x, layer.fold.cols, 0, layer.fold.parts)}});
  }
  return result;
}

}  // namespace espalier::test
