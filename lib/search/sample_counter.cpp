#include "lib/search/sample_counter.h"

#include <algorithm>

#include "lib/verify/model_runner.h"

namespace espalier {

SampleCounter::SampleCounter(const Model& model, const std::vector<Layer>& layers)
    : seen_(layers.size()) {
  for (const Layer& layer : layers) weights_.push_back(&weight_of(model, layer));
}

std::optional<size_t> SampleCounter::watch(const Weight& weight) const {
  const auto found = std::ranges::find(weights_, &weight);
  if (found == weights_.end()) return std::nullopt;
  return static_cast<size_t>(found - weights_.begin());
}

void SampleCounter::see(size_t number, size_t first, size_t, const float*, Features, size_t,
                        size_t n) {
  seen_[number].n = std::max(seen_[number].n, n);
  if (first == 0) ++seen_[number].products;
}

PackedModels unpruned(const Model& model) {
  PackedModels models;
  models.before = models.masked = models.packed = model;
  for (Layer& layer : select_layers(model, {})) {
    if (stored_weight(model, layer) != nullptr) models.layers.push_back(std::move(layer));
  }
  return models;
}

SampleCounter count_samples(const PackedModels& models, const Evaluation& evaluation,
                            const ExecutorOptions& options) {
  SampleCounter counter(models.before, models.layers);
  ExecutorOptions observed = options;
  observed.observer = &counter;
  ModelRunner(models.before, models.before, evaluation.data, observed)
      .run(evaluation.feeds.front());
  return counter;
}

}  // namespace espalier
