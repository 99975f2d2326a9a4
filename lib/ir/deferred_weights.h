#pragma once

#include <functional>
#include <vector>

#include "lib/base/thread_pool.h"
#include "lib/ir/model.h"
#include "lib/sparse/block_mask.h"

namespace espalier {

// What becomes of a weight is made when it is looked at, and let go of after that, from this many
// bytes on (Tensor::deferred): a model need not be in memory as a whole. Smaller ones are made at
// once. What is read to make them is given back.
inline constexpr size_t kWorthDeferring = size_t{1} << 20;

/// The decoded weight.
Tensor decoded_or_deferred(const SparseMatrix& matrix, size_t threads);

/// The dense weight, decoded where it is packed.
Tensor dense_or_deferred(const Weight& weight, size_t threads);

/// As mask_dense.
Tensor masked_or_deferred(const Weight& weight, const Fold& fold, const BlockMask& mask,
                          bool diagonal, ThreadPool& pool);

/// As pack_blocks.
SparseMatrix packed_or_deferred(const Tensor& dense, const Fold& fold, const BlockMask& mask,
                                bool diagonal, ThreadPool& pool);

/// As with_values, which is called at once all the same, for its errors.
SparseMatrix rounded_or_deferred(const SparseMatrix& packed, DType values);

/// Calls work(i) for each weight: for large ones one after another, so that one is in memory at a
/// time, for the others on the pool's threads.
void for_each_weight(const std::vector<const Weight*>& weights,
                     const std::function<void(size_t)>& work, ThreadPool& pool);

}  // namespace espalier
