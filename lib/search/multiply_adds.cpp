#include "lib/search/multiply_adds.h"

#include <map>

#include "lib/ops/product_observer.h"
#include "lib/prune/select/selection.h"
#include "lib/verify/model_runner.h"

namespace espalier {
namespace {

class Counter final : public ProductObserver {
 public:
  explicit Counter(const Model& model) {
    for (const Layer& layer : select_layers(model, {})) {
      const Weight* weight = stored_weight(model, layer);
      if (weight == nullptr) continue;
      numbers_.emplace(weight, rows_.size());
      rows_.push_back(layer.fold.rows);
    }
  }

  std::optional<size_t> watch(const Weight& weight) const override {
    const auto found = numbers_.find(&weight);
    return found == numbers_.end() ? std::nullopt : std::optional(found->second);
  }

  void see(size_t number, size_t, size_t count, const float*, Features, size_t k,
           size_t n) override {
    total_ += static_cast<double>(count * rows_[number]) * static_cast<double>(k) *
              static_cast<double>(n);
  }

  double total() const { return total_; }

 private:
  std::map<const Weight*, size_t> numbers_;
  std::vector<size_t> rows_;  // of one part
  double total_ = 0;
};

}  // namespace

double multiply_adds(const Model& model, const Evaluation& evaluation,
                     const ExecutorOptions& options) {
  Counter counter(model);
  ExecutorOptions observed = options;
  observed.observer = &counter;
  ModelRunner(model, model, evaluation.data, observed).run(evaluation.feeds.front());
  return counter.total();
}

}  // namespace espalier
