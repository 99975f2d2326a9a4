#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include "lib/base/thread_pool.h"

namespace espalier {

/// Where the features of a sample lie in X and Y.
enum class Features {
  kInner,  ///< X [n, k], Y [n, m], row-major: a batch of vectors (MatMul, Gemm, recurrent steps)
  kOuter,  ///< X [k, n], Y [m, n], row-major: columns are samples (im2col of a convolution)
};

/// Samples of one panel: a multiple of every vector length.
inline constexpr size_t kPanelSamples = 16;

/// A product that reads its samples where they lie, such as the windows of a convolution. Refers to
/// the Product it came from. May be called by several threads at a time.
class PanelProduct {
 public:
  virtual ~PanelProduct() = default;

  /// Y = W X + bias for kPanelSamples samples, in 1, 2 or 4 `runs` of equal length: input i of
  /// sample s of a run is run[offset(i) + s]. Output o of sample s is y[o * y_stride + s]; those
  /// of share `item` of `items` of the outputs are computed.
  virtual void run(std::span<const float* const> runs, size_t item, size_t items, const float* bias,
                   float* y, size_t y_stride) const = 0;

  /// Which outputs these are: the first, and the one behind the last.
  virtual std::pair<size_t, size_t> outputs(size_t item, size_t items) const = 0;
};

/// A weight, packed or dense, in the order its kernel reads it, made once. m outputs, k inputs; of
/// a weight of several parts (stacked gates that share the input) m = fold.parts * fold.rows and
/// k = fold.cols.
class Product {
 public:
  virtual ~Product() = default;

  /// Y = W X + bias for n samples; bias [m] or null. x and y must not overlap.
  virtual void run(const float* x, Features features, size_t n, const float* bias, float* y,
                   ThreadPool& pool) const = 0;

  /// The same for samples whose input i lies at offset(i), up to the end of the last block; null
  /// where the kernel has no such loop.
  virtual std::unique_ptr<const PanelProduct> in_place(
      const std::function<uint32_t(size_t input)>& /*offset*/) const {
    return nullptr;
  }

  virtual std::string_view kernel() const = 0;  ///< its name, for reports
  virtual size_t bytes() const = 0;             ///< of weights and indices held
};

}  // namespace espalier
