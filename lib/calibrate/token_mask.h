#pragma once

#include <optional>
#include <set>
#include <vector>

#include "lib/ir/model.h"
#include "lib/ops/product_observer.h"

namespace espalier {

/// Hands an observer the samples that are no padding: those of a product that has one for each
/// element of a mask, in its order, where the mask is not 0. Products with another number of
/// samples (behind a pooling) are handed on whole, and so are those of recurrent layers unless the
/// mask's first axis, the batch, is 1: their samples are steps first, not sequences.
class TokenMask final : public ProductObserver {
 public:
  /// `model` is the one that runs.
  TokenMask(ProductObserver& inner, const Model& model);

  /// Of the products from now on; a tensor of any type but strings.
  void set(const Tensor& mask);

  std::optional<size_t> watch(const Weight& weight) const override;
  void see(size_t number, size_t first, size_t count, const float* x, Features features, size_t k,
           size_t n) override;

 private:
  ProductObserver& inner_;
  std::set<const Weight*> recurrent_;
  mutable std::set<size_t> recurrent_numbers_;  // that watch() gave to these
  std::vector<size_t> kept_;                    // samples that are no padding
  size_t samples_ = 0;                          // of the mask; 0: there is none
  bool single_ = true;                          // a batch of 1
  std::vector<float> part_;
};

}  // namespace espalier
