#include "lib/calibrate/token_mask.h"

namespace espalier {

TokenMask::TokenMask(ProductObserver& inner, const Model& model) : inner_(inner) {
  for_each_graph(model.graph, [&](const Graph& graph, const std::string&) {
    for (const Node& node : graph.nodes) {
      if (node.op != "GRU" && node.op != "LSTM" && node.op != "RNN") continue;
      for (const ValueId input : node.inputs) {
        const auto weight = graph.weights.find(input);
        if (weight != graph.weights.end()) recurrent_.insert(&weight->second);
      }
    }
  });
}

std::optional<size_t> TokenMask::watch(const Weight& weight) const {
  const std::optional<size_t> number = inner_.watch(weight);
  if (number && recurrent_.contains(&weight)) recurrent_numbers_.insert(*number);
  return number;
}

void TokenMask::set(const Tensor& mask) {
  kept_.clear();
  const bool real = is_float(mask.dtype());
  const std::vector<float> floats = real ? to_f32(mask) : std::vector<float>{};
  const std::vector<int64_t> whole = real ? std::vector<int64_t>{} : to_i64(mask);
  samples_ = mask.count();
  single_ = mask.shape().size() < 2 || mask.shape()[0] == 1;
  for (size_t i = 0; i < samples_; ++i) {
    if (real ? floats[i] != 0 : whole[i] != 0) kept_.push_back(i);
  }
}

void TokenMask::see(size_t number, size_t first, size_t count, const float* x, Features features,
                    size_t k, size_t n) {
  const bool applies = n == samples_ && (single_ || !recurrent_numbers_.contains(number));
  if (!applies || kept_.size() == n) return inner_.see(number, first, count, x, features, k, n);
  if (kept_.empty()) return;
  part_.resize(kept_.size() * k);
  for (size_t s = 0; s < kept_.size(); ++s) {
    for (size_t i = 0; i < k; ++i) {
      if (features == Features::kInner) {
        part_[s * k + i] = x[kept_[s] * k + i];
      } else {
        part_[i * kept_.size() + s] = x[i * n + kept_[s]];
      }
    }
  }
  inner_.see(number, first, count, part_.data(), features, k, kept_.size());
}

}  // namespace espalier
