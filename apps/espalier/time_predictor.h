#pragma once

#include <vector>

#include "apps/espalier/cost_model.h"
#include "apps/espalier/run_checks.h"
#include "lib/ops/product_observer.h"

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

/// Fills job.layers and job.rows with all prunable weights of job.before.
void add_layers(PackJob& job);

/// One run of job.before on the first feed.
SampleCounter count_samples(const PackJob& job, const CheckInputs& inputs,
                            const ExecutorOptions& options);

/// Time of a packed model on another machine: its layers by the rows of that machine's measurement,
/// the rest as it was measured here, by the ratio of what the dense layers take there and here.
class TimePredictor {
 public:
  /// Measures job.before.
  /// Errors  as read_machine(), for a model that cannot be run, and Fault::kUnsupported where no
  ///         layer's time is known.
  TimePredictor(const PackJob& job, const CheckInputs& inputs, const ExecutorOptions& options,
                std::string file);

  /// Errors  as predict().
  double milliseconds(const Model& packed) const;

 private:
  TimeLine line_of(size_t layer, BlockShape block) const;
  double layer_ms(size_t layer, const Weight& weight) const;

  std::string file_;
  KernelResults machine_;
  std::vector<Layer> layers_;
  std::vector<SampleCounter::Seen> seen_;
  double rest_ms_ = 0;
};

}  // namespace espalier
