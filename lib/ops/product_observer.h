#pragma once

#include <cstddef>
#include <memory>
#include <optional>

#include "lib/kernels/product.h"

namespace espalier {

struct Weight;

/// Sees what weights are multiplied with while a model runs: for calibration. A run without an
/// observer knows nothing of it.
class ProductObserver {
 public:
  virtual ~ProductObserver() = default;

  /// Asked when a node is prepared: the number by which see() will name this weight; nothing where
  /// it is not of interest. `weight` is the model's own constant, known by its address.
  virtual std::optional<size_t> watch(const Weight& weight) const = 0;

  /// Parts [first, first + count) of weight `number` are about to multiply X, `n` samples of `k`
  /// inputs, laid out as `features` says. Called by one thread at a time, in the order of the run.
  virtual void see(size_t number, size_t first, size_t count, const float* x, Features features,
                   size_t k, size_t n) = 0;
};

/// `product` of those parts, which tells `observer` before it runs.
std::shared_ptr<const Product> observed(std::shared_ptr<const Product> product,
                                        ProductObserver& observer, size_t number, size_t first,
                                        size_t count, size_t inputs);

}  // namespace espalier
