#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/thread_pool.h"
#include "lib/sparse/sparse_matrix.h"

namespace espalier {

/// Where the features of a sample lie in X and Y.
enum class Features {
  kInner,  ///< X is [n, k], Y is [n, m], row-major: a batch of vectors (MatMul, Gemm, recurrent
           ///< steps)
  kOuter,  ///< X is [k, n], Y is [m, n], row-major: columns are samples (im2col of a convolution)
};

/// Samples of one panel: a multiple of every vector length.
inline constexpr size_t kPanelSamples = 16;

/// A product that reads its samples where they lie, such as the windows of a convolution. Refers to
/// the SparseProduct it came from. May be called by several threads at a time.
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

/// A packed weight in the order its kernel reads it, made once. m = fold.parts * fold.rows outputs,
/// k = fold.cols inputs: the parts are stacked gates that share the input.
class SparseProduct {
 public:
  virtual ~SparseProduct() = default;

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

/// Picks the kernel for the block shape: the exact one, else the quick one that takes every shape.
/// `plain` asks for the plain one always: the yardstick in tests and verification. Values of i8 are
/// multiplied with inputs that are rounded to 8 bits (sparse_int8.h), unless `exact` asks for f32.
std::unique_ptr<const SparseProduct> prepare_sparse(const SparseMatrix& weight, bool plain = false,
                                                    bool exact = false);

/// Parts first .. first + count - 1 of `weight` as a weight of their own.
SparseMatrix parts_of(const SparseMatrix& weight, size_t first, size_t count);

/// The same as prepare_sparse for parts first .. first + count - 1 of `weight` alone: parts that do
/// not share the input (groups of a convolution, directions of a recurrent weight, a batched
/// MatMul).
std::unique_ptr<const SparseProduct> prepare_sparse_parts(const SparseMatrix& weight, size_t first,
                                                          size_t count, bool plain = false,
                                                          bool exact = false);

/// One kernel, for tests and benchmarks that walk the list.
struct SparseKernel {
  std::string_view name;
  BlockShape block;  ///< 0x0: every shape
  std::unique_ptr<const SparseProduct> (*prepare)(const SparseMatrix& weight);
};
std::span<const SparseKernel* const> sparse_kernels();

/// Dense Y = W X + bias by oneDNN, W [m, k] packed once in oneDNN's own layout; the same interface.
std::unique_ptr<const SparseProduct> prepare_dense(const float* weight, size_t m, size_t k);

/// Names of the instruction sets of this machine that the kernels are compiled for, best first, and
/// the one in use.
std::vector<std::string> simd_targets();
std::string simd_target();
/// Errors  Fault::kUsage for a name that is not in simd_targets().
void set_simd_target(std::string_view name);

}  // namespace espalier
