#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lib/base/thread_pool.h"
#include "lib/kernels/product.h"
#include "lib/prune/score/statistics.h"

namespace espalier {

/// Hands `n` samples as a product gets them to `sample(first element, stride)`; of columns
/// (Features::kOuter) at most `positions`, evenly spaced from a place that changes with `calls`,
/// which counts on. 0: all.
void for_each_sample(const float* x, Features features, size_t inputs, size_t n, size_t positions,
                     uint64_t& calls, const std::function<void(const float*, size_t)>& sample);

/// sums[i, j] += sum over samples s of a[s, i] b[s, j]: products in f32, of few enough samples.
/// `product` is scratch.
void add_products(const std::vector<float>& a, const std::vector<float>& b, size_t inputs,
                  std::vector<float>& product, std::span<double> sums, ThreadPool& pool);

/// Means over samples that lie one after the other. They are taken off before samples are
/// multiplied in f32, where variances of inputs far from 0 would be lost to rounding, and those of
/// inputs that never change would not be 0.
std::vector<float> means_of(const std::vector<float>& samples, size_t inputs);
void take_off(const std::vector<float>& means, std::vector<float>& samples);
/// E[a b^T] from `sums` over `n` samples of (a - a0) (b - b0)^T, a0 and b0 having been taken off,
/// and from the true means of a and b. `moments` may be `sums`.
void restore_means(const std::vector<float>& a0, const std::vector<float>& b0,
                   std::span<const double> mean_a, std::span<const double> mean_b, double n,
                   std::span<const double> sums, std::span<double> moments);

/// Both triangles become their mean: rounding makes those of a product differ.
void make_symmetric(std::span<double> moments, size_t inputs);

/// Few enough samples for sums in f32, many enough for a quick product.
inline constexpr size_t kSamplesTogether = 256;

/// Adds up x and x x^T over samples.
class MomentSums {
 public:
  /// `product` is scratch, which sums that are added to one after another share.
  MomentSums(size_t first_part, size_t parts, size_t inputs, std::vector<float>& product);

  /// As for_each_sample, whose calls it counts.
  void add(const float* x, Features features, size_t n, size_t positions, ThreadPool& pool);
  /// The moments of what was added, in the memory of the sums: nothing can be added after it.
  InputMoments result(ThreadPool& pool);

  size_t first_part() const { return first_part_; }
  uint64_t not_finite() const { return not_finite_; }

 private:
  void add_sample(const float* x, size_t stride, ThreadPool& pool);
  void flush(ThreadPool& pool);

  size_t first_part_, parts_, inputs_;
  uint64_t samples_ = 0, not_finite_ = 0, calls_ = 0;
  Tensor second_;  // f64 [inputs, inputs]
  std::vector<double> mean_;
  std::vector<float> waiting_;  // samples that are not in the sums yet, one after another
  std::vector<float> means_;    // taken off: those of the first product's samples
  std::vector<float>& product_;
};

}  // namespace espalier
