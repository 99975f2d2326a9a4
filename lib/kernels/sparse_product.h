#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "lib/kernels/product.h"
#include "lib/sparse/sparse_matrix.h"

namespace espalier {

/// Picks the kernel for the block shape: the exact one, else the quick one that takes every shape.
/// `plain` asks for the plain one always: the yardstick in tests and verification. Values of i8 are
/// multiplied with inputs that are rounded to 8 bits (int8/int8_product.h), unless `exact` asks for
/// f32.
std::unique_ptr<const Product> prepare_sparse(const SparseMatrix& weight, bool plain = false,
                                              bool exact = false);

/// Parts first .. first + count - 1 of `weight` as a weight of their own, whose elements are shared
/// with it where they can be.
SparseMatrix parts_of(const SparseMatrix& weight, size_t first, size_t count);

/// The same as prepare_sparse for parts first .. first + count - 1 of `weight` alone: parts that do
/// not share the input (groups of a convolution, directions of a recurrent weight, a batched
/// MatMul).
std::unique_ptr<const Product> prepare_sparse_parts(const SparseMatrix& weight, size_t first,
                                                    size_t count, bool plain = false,
                                                    bool exact = false);

/// One kernel of kernels.def.
struct SparseKernel {
  std::string_view name;
  BlockShape block;  ///< 0x0: every shape
  std::unique_ptr<const Product> (*prepare)(const SparseMatrix& weight);
  /// What else the weight must be; null: nothing.
  bool (*takes)(const SparseMatrix& weight) = nullptr;
  bool exact = true;  ///< false: rounds what it multiplies the weight with
};

/// All kernels, in the order in which prepare_sparse() asks them.
std::span<const SparseKernel* const> sparse_kernels();
/// Whether the kernel can multiply by `weight`.
bool takes(const SparseKernel& kernel, const SparseMatrix& weight);

}  // namespace espalier
