#include "lib/calibrate/collect.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>

#include "lib/base/available_memory.h"
#include "lib/calibrate/moment_sums.h"

namespace espalier {
namespace {

// Sums of one pass, by weight and first part.
class Sums final : public ProductObserver {
 public:
  Sums(const CollectOptions& options, ThreadPool& pool) : options_(options), pool_(pool) {}

  void watch_for(const Weight& weight, size_t number) { numbers_[&weight] = number; }

  std::optional<size_t> watch(const Weight& weight) const override {
    const auto found = numbers_.find(&weight);
    return found == numbers_.end() ? std::nullopt : std::optional(found->second);
  }

  void see(size_t number, size_t first, size_t count, const float* x, Features features, size_t k,
           size_t n) override {
    std::unique_ptr<MomentSums>& sums = sums_[{number, first}];
    if (sums == nullptr) sums = std::make_unique<MomentSums>(first, count, k, product_);
    sums->add(x, features, n, options_.positions, pool_);
  }

  /// Takes the moments of a layer out, and gives its memory back.
  std::vector<InputMoments> take(size_t number, uint64_t& not_finite) {
    std::vector<InputMoments> result;
    for (auto at = sums_.lower_bound({number, 0}); at != sums_.end() && at->first.first == number;
         at = sums_.erase(at)) {
      not_finite = std::max(not_finite, at->second->not_finite());
      InputMoments moments = at->second->result(pool_);
      moments.second = half_kept(std::move(moments.second));
      if (moments.samples != 0) result.push_back(std::move(moments));
    }
    return result;
  }

 private:
  const CollectOptions& options_;
  ThreadPool& pool_;
  std::map<const Weight*, size_t> numbers_;
  std::vector<float> product_;
  std::map<std::pair<size_t, size_t>, std::unique_ptr<MomentSums>> sums_;
};

// Which layers are looked at in which pass.
std::vector<std::vector<size_t>> passes_of(const std::vector<Layer>& layers,
                                           const CollectOptions& options,
                                           std::vector<std::string>& refused) {
  std::vector<std::vector<size_t>> passes;
  size_t used = 0;
  for (size_t i = 0; i < layers.size(); ++i) {
    if (!layers[i].left_out.empty()) continue;
    const size_t bytes = sums_bytes(layers[i]);
    if (bytes > options.memory_bytes) {
      refused.push_back(fmt::format(
          "{}: the moments of {} x {} inputs take {} MiB, the limit is {}", layers[i].weight,
          layers[i].fold.parts, layers[i].fold.cols, bytes >> 20,
          options.memory_bytes >> 20));
      continue;
    }
    if (passes.empty() || used + bytes > options.bytes_of_a_pass()) {
      passes.emplace_back();
      used = 0;
    }
    used += bytes;
    passes.back().push_back(i);
  }
  return passes;
}

}  // namespace

size_t sums_bytes(const Layer& layer) {
  return layer.fold.parts * layer.fold.cols * layer.fold.cols * (sizeof(double) + sizeof(float));
}

Collected collect_statistics(const Model& model, const std::vector<Layer>& layers,
                             const CalibrationPass& pass, const CollectOptions& options) {
  Collected collected;
  ThreadPool pool(options.threads);
  for (const auto& members : passes_of(layers, options, collected.refused)) {
    ++collected.passes;
    Sums sums(options, pool);
    for (const size_t i : members) sums.watch_for(weight_of(model, layers[i]), i);
    pass(sums);
    give_back_freed_memory();  // of the weights that kernels had made ready
    for (const size_t i : members) {
      const Weight& weight = weight_of(model, layers[i]);
      LayerStatistics layer{layers[i].weight, fingerprint_of(weight),
                            sums.take(i, collected.not_finite)};
      weight.give_back();
      if (!layer.inputs.empty()) collected.statistics.layers.push_back(std::move(layer));
    }
  }
  return collected;
}

}  // namespace espalier
