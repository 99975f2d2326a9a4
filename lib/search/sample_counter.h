#pragma once

#include <optional>
#include <vector>

#include "lib/ops/product_observer.h"
#include "lib/verify/evaluation.h"
#include "lib/verify/packed_models.h"

namespace espalier {

/// Samples that each layer's weight meets in a product, and how many products a run has.
class SampleCounter final : public ProductObserver {
 public:
  /// Both outlive it.
  SampleCounter(const Model& model, const std::vector<Layer>& layers);

  std::optional<size_t> watch(const Weight& weight) const override;
  void see(size_t number, size_t first, size_t count, const float* x, Features features, size_t k,
           size_t n) override;

  struct Seen {
    size_t n = 0, products = 0;
  };
  const Seen& of(size_t layer) const { return seen_[layer]; }

 private:
  std::vector<const Weight*> weights_;
  std::vector<Seen> seen_;
};

/// The model as it is before pruning, in all roles, with every prunable weight that it stores.
PackedModels unpruned(const Model& model);

/// One run of `models.before` on the first feed.
SampleCounter count_samples(const PackedModels& models, const Evaluation& evaluation,
                            const ExecutorOptions& options);

}  // namespace espalier
