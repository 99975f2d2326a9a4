#pragma once

#include <cstdint>
#include <vector>

#include "lib/base/thread_pool.h"
#include "lib/kernels/sparse_product.h"
#include "lib/prune/statistics.h"

namespace espalier {

/// Adds up x and x x^T over samples.
class MomentSums {
 public:
  MomentSums(size_t first_part, size_t parts, size_t inputs);

  /// `n` samples as a product gets them; of columns (Features::kOuter) at most `positions`, evenly
  /// spaced from a place that changes from call to call. 0: all.
  void add(const float* x, Features features, size_t n, size_t positions, ThreadPool& pool);
  /// The moments of what was added.
  InputMoments result(ThreadPool& pool);

  size_t first_part() const { return first_part_; }
  uint64_t not_finite() const { return not_finite_; }

 private:
  void add_sample(const float* x, size_t stride, ThreadPool& pool);
  void flush(ThreadPool& pool);

  size_t first_part_, parts_, inputs_;
  uint64_t samples_ = 0, not_finite_ = 0, calls_ = 0;
  std::vector<double> second_, mean_;
  std::vector<float> waiting_;  // samples that are not in the sums yet, one after another
  std::vector<float> product_;
};

}  // namespace espalier
