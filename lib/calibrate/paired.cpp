#include "lib/calibrate/paired.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "lib/calibrate/moment_sums.h"

namespace espalier {
namespace {

// A layer's number and the first of its parts.
using Key = std::pair<size_t, size_t>;

// Samples of one feed and one input.
struct Samples {
  size_t parts = 0, inputs = 0;
  uint64_t calls = 0;
  std::vector<float> values;  // one sample after another
};

class Recorder final : public ProductObserver {
 public:
  explicit Recorder(size_t positions) : positions_(positions) {}

  void watch_for(const Weight& weight, size_t number) { numbers_[&weight] = number; }

  std::optional<size_t> watch(const Weight& weight) const override {
    const auto found = numbers_.find(&weight);
    return found == numbers_.end() ? std::nullopt : std::optional(found->second);
  }

  void see(size_t number, size_t first, size_t count, const float* x, Features features, size_t k,
           size_t n) override {
    Samples& samples = seen[{number, first}];
    samples.parts = count;
    samples.inputs = k;
    for_each_sample(x, features, k, n, positions_, samples.calls,
                    [&](const float* at, size_t stride) {
                      for (size_t i = 0; i < k; ++i) samples.values.push_back(at[i * stride]);
                    });
  }

  std::map<Key, Samples> seen;

 private:
  size_t positions_;
  std::map<const Weight*, size_t> numbers_;
};

class PairedSums {
 public:
  PairedSums(size_t first_part, const Samples& like)
      : first_part_(first_part),
        parts_(like.parts),
        inputs_(like.inputs),
        second_(inputs_ * inputs_, 0.0),
        cross_(inputs_ * inputs_, 0.0),
        mean_(inputs_, 0.0),
        original_mean_(inputs_, 0.0) {}

  void add(const Samples& original, const Samples& changed, ThreadPool& pool) {
    for (size_t at = 0; at < changed.values.size(); at += inputs_) {
      const auto a = std::span(original.values).subspan(at, inputs_);
      const auto b = std::span(changed.values).subspan(at, inputs_);
      const auto finite = [](float v) { return std::isfinite(v); };
      if (!std::ranges::all_of(a, finite) || !std::ranges::all_of(b, finite)) continue;
      original_.insert(original_.end(), a.begin(), a.end());
      changed_.insert(changed_.end(), b.begin(), b.end());
      if (++samples_ % kSamplesTogether == 0) flush(pool);
    }
  }

  InputMoments result(ThreadPool& pool) {
    flush(pool);
    const auto side = static_cast<int64_t>(inputs_);
    const auto zeros = [](Shape shape) { return Tensor::zeros(DType::kF64, std::move(shape)); };
    InputMoments moments{first_part_,         parts_,        samples_,
                         zeros({side, side}), zeros({side}), zeros({side, side}),
                         zeros({side})};
    if (samples_ == 0) return moments;
    const auto n = static_cast<double>(samples_);
    const auto mean = moments.mean.mutable_data<double>();
    const auto original_mean = moments.original_mean.mutable_data<double>();
    for (size_t i = 0; i < inputs_; ++i) {
      mean[i] = mean_[i] / n;
      original_mean[i] = original_mean_[i] / n;
    }
    const auto second = moments.second.mutable_data<double>();
    restore_means(means_, means_, mean, mean, n, second_, second);
    make_symmetric(second, inputs_);
    restore_means(original_means_, means_, original_mean, mean, n, cross_,
                  moments.cross.mutable_data<double>());
    return moments;
  }

 private:
  void flush(ThreadPool& pool) {
    if (changed_.empty()) return;
    for (size_t at = 0; at < changed_.size(); ++at) {
      mean_[at % inputs_] += changed_[at];
      original_mean_[at % inputs_] += original_[at];
    }
    if (means_.empty()) {
      means_ = means_of(changed_, inputs_);
      original_means_ = means_of(original_, inputs_);
    }
    take_off(means_, changed_);
    take_off(original_means_, original_);
    add_products(changed_, changed_, inputs_, product_, second_, pool);
    add_products(original_, changed_, inputs_, product_, cross_, pool);
    changed_.clear();
    original_.clear();
  }

  size_t first_part_, parts_, inputs_;
  uint64_t samples_ = 0;
  std::vector<double> second_, cross_, mean_, original_mean_;
  std::vector<float> original_, changed_, product_;
  std::vector<float> means_, original_means_;  // taken off (moment_sums.h)
};

// The samples of a feed go into the sums.
void add_feed(const std::vector<Layer>& layers, Recorder& original, Recorder& changed,
              std::map<Key, PairedSums>& sums, ThreadPool& pool) {
  for (auto& [key, samples] : changed.seen) {
    Samples& other = original.seen[key];
    if (other.values.size() != samples.values.size()) {
      throw Error(Fault::kUnsupported,
                  fmt::format("weight {}: the pruned model multiplies it with {} numbers, the "
                              "unpruned one with {}",
                              printable(layers[key.first].weight), samples.values.size(),
                              other.values.size()));
    }
    sums.try_emplace(key, key.second, samples).first->second.add(other, samples, pool);
    other.values.clear();
    samples.values.clear();
  }
}

}  // namespace

Statistics collect_paired(const Model& unchanged, const Model& changed,
                          const std::vector<Layer>& layers, const PairedPass& pass,
                          const CollectOptions& options) {
  ThreadPool pool(options.threads);
  Recorder original(options.positions), other(options.positions);
  for (size_t i = 0; i < layers.size(); ++i) {
    original.watch_for(weight_of(unchanged, layers[i]), i);
    other.watch_for(weight_of(changed, layers[i]), i);
  }
  std::map<Key, PairedSums> sums;
  pass(original, other, [&] { add_feed(layers, original, other, sums, pool); });
  Statistics result;
  for (auto& [key, sum] : sums) {
    InputMoments moments = sum.result(pool);
    if (moments.samples == 0) continue;
    const Layer& layer = layers[key.first];
    if (result.find(layer.weight) == nullptr)
      result.layers.push_back({layer.weight, fingerprint_of(weight_of(unchanged, layer)), {}});
    result.layers.back().inputs.push_back(std::move(moments));
  }
  return result;
}

}  // namespace espalier
