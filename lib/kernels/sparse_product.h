#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
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

/// A packed weight in the order its kernel reads it, made once. m = fold.parts * fold.rows outputs,
/// k = fold.cols inputs: the parts are stacked gates that share the input.
class SparseProduct {
 public:
  virtual ~SparseProduct() = default;

  /// Y = W X + bias for n samples; bias [m] or null. x and y must not overlap.
  virtual void run(const float* x, Features features, size_t n, const float* bias, float* y,
                   ThreadPool& pool) const = 0;

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
