#include "lib/ir/deferred_weights.h"

#include <memory>

#include "lib/sparse/mask_dense.h"
#include "lib/sparse/pack.h"
#include "lib/sparse/shared_mask.h"

namespace espalier {

Tensor decoded_or_deferred(const SparseMatrix& matrix, size_t threads) {
  if (byte_count(matrix.dtype, matrix.shape) < kWorthDeferring) return decode(matrix);
  return Tensor::deferred(matrix.dtype, matrix.shape, [matrix, threads] {
    ThreadPool pool(threads);
    Tensor result = decode(matrix, &pool);
    matrix.give_back();
    return result;
  });
}

Tensor dense_or_deferred(const Weight& weight, size_t threads) {
  return weight.is_sparse() ? decoded_or_deferred(weight.sparse(), threads) : weight.dense();
}

Tensor masked_or_deferred(const Weight& weight, const Fold& fold, const BlockMask& mask,
                          bool diagonal, ThreadPool& pool) {
  const Tensor dense = dense_or_deferred(weight, pool.threads());
  if (dense.byte_size() < kWorthDeferring) return mask_dense(dense, fold, mask, diagonal, pool);
  const auto kept = shared_mask(mask);
  return Tensor::deferred(dense.dtype(), dense.shape(),
                          [dense, fold, kept, diagonal, threads = pool.threads()] {
                            ThreadPool own(threads);
                            Tensor result = mask_dense(dense.held(), fold, *kept, diagonal, own);
                            dense.give_back();
                            return result;
                          });
}

SparseMatrix packed_or_deferred(const Tensor& dense, const Fold& fold, const BlockMask& mask,
                                bool diagonal, ThreadPool& pool) {
  if (dense.byte_size() < kWorthDeferring) return pack_blocks(dense, fold, mask, diagonal);
  return pack_blocks_deferred(dense, fold, mask, diagonal, pool.threads());
}

SparseMatrix rounded_or_deferred(const SparseMatrix& packed, DType values) {
  SparseMatrix made = with_values(packed, values);
  if (values == packed.values.dtype() || packed.values.byte_size() < kWorthDeferring) return made;
  SparseMatrix result = deferred(made, [packed, values] {
    SparseMatrix again = held(with_values(packed, values));
    packed.give_back();
    return again;
  });
  result.row_start = packed.row_start;
  result.col = packed.col;
  packed.give_back();
  return result;
}

void for_each_weight(const std::vector<const Weight*>& weights,
                     const std::function<void(size_t)>& work, ThreadPool& pool) {
  std::vector<size_t> small;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (byte_count(weights[i]->dtype(), weights[i]->shape()) < kWorthDeferring) {
      small.push_back(i);
      continue;
    }
    work(i);
    weights[i]->give_back();
  }
  pool.for_each(small.size(), [&](size_t i) { work(small[i]); });
}

}  // namespace espalier
