#pragma once

#include <memory>

#include "lib/kernels/product.h"
#include "lib/sparse/sparse_matrix.h"

namespace espalier {

/// Whether prepare_int8() takes the weight: values of i8 in blocks of 16x4, 8x4, 16x1, 8x1, 4x8 or
/// 1x4, and at most 65536 inputs (a sum of their products fits into 32 bits).
bool takes_int8(const SparseMatrix& weight);

/// Y = W X + bias with sums of 8-bit products in 32 bits, by dot instructions where the processor
/// has them. Each sample x is rounded when it arrives: q = round(x / step), ties to even, with
/// step = max |x_j| / 127. Every instruction set gives the same bits.
///
/// Error   |y - exact| <= step * (1/2 + 2^-12) * sum_j |w_j| + 2^-21 * (|exact| + |d x| + |bias|),
///         w_j = value * scale of the blocks of that output; its diagonal d is not rounded.
/// Exact   A sample that holds NaN or an infinity, or whose largest magnitude is below 2^-100 (but
///         not 0), is multiplied in f32 with the widened values; so are fewer than 9 samples with
///         blocks of 4x8 and 1x4, where that is as quick.
/// Source  docs/algorithms/int8.md.
std::unique_ptr<const Product> prepare_int8(const SparseMatrix& weight);

}  // namespace espalier
