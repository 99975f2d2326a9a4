#pragma once

#include <optional>

#include "lib/base/thread_pool.h"
#include "lib/sparse/sparse_matrix.h"

namespace espalier {

/// Keeps the blocks of `dense` that `mask` marks, and the diagonals of its (square) parts apart
/// where `diagonal` is set: then a kept block holds zeros on the diagonal. `pool` shares
/// the work out, where there is one.
/// Shapes  dense folds by `fold`; mask is of that fold. dense is f32, f16 or bf16 (anything else,
///         or another mask, is a bug).
/// Cost    one pass over the kept blocks.
/// Errors  Fault::kUnsupported from 2^32 block rows or columns on.
SparseMatrix pack_blocks(const Tensor& dense, const Fold& fold, const BlockMask& mask,
                         bool diagonal, ThreadPool* pool = nullptr);

/// The same, made when it is looked at and again after give_back(), by `threads` threads. `dense`
/// is given back each time that it was read.
SparseMatrix pack_blocks_deferred(const Tensor& dense, const Fold& fold, const BlockMask& mask,
                                  bool diagonal, size_t threads);

/// The dense weight: shape and dtype of the matrix. Bit for bit what was packed, where values have
/// the weight's own type.
Tensor decode(const SparseMatrix& matrix, ThreadPool* pool = nullptr);

/// `matrix` with its values rounded to `dtype` (f32, f16, bf16: to nearest, ties to even; i8);
/// decode still gives matrix.dtype. i8: value * scale of its output. Of scales with which 127 steps
/// reach the largest magnitude of the output or somewhat less, the one with the least squared
/// error: the root of its mean is at most half a step of the largest magnitude / 127. Outputs of
/// zeros have scale 0; diagonals keep the weight's type.
/// Errors  Fault::kFormat naming the element: where a finite value does not fit into f16 or bf16,
///         or one for i8 is not finite.
/// Source  docs/algorithms/values.md.
SparseMatrix with_values(const SparseMatrix& matrix, DType dtype);

/// `matrix`, packed in other blocks from what `other` decodes to, with values of the type that
/// `other` has, and its scale: then it decodes to the same. For i8 their folds and dtypes are
/// equal, and both or neither keep diagonals apart (anything else is a bug).
SparseMatrix with_values_like(const SparseMatrix& matrix, const SparseMatrix& other);

/// Values [blocks, block.rows, block.cols] as f32, those of i8 times their scale.
Tensor values_as_f32(const SparseMatrix& matrix);

/// Which blocks of `dense` hold an element that is not a zero of either sign; with `diagonal`, the
/// diagonals of square parts are not looked at.
BlockMask nonzero_blocks(const Tensor& dense, const Fold& fold, BlockShape block, bool diagonal);

/// The packing of `dense` that loses no value (kept blocks keep every bit, zeros outside their sign
/// not) and takes the fewest bytes among the usual block shapes
/// (16x4, 16x1, 8x4, 8x1, 4x8, 4x4, 4x1, 1x8, 1x4, 1x1, and RxC of `hint`), with and without
/// diagonals apart; nothing where none is smaller than the dense weight.
std::optional<SparseMatrix> pack_smallest(const Tensor& dense, const Fold& fold,
                                          std::optional<BlockShape> hint = {});

}  // namespace espalier
