#pragma once

#include "lib/base/thread_pool.h"
#include "lib/sparse/block_mask.h"
#include "lib/tensor/tensor.h"

namespace espalier {

/// `dense` with zero bits in the blocks that `mask` drops and all other bits as they are; with
/// `diagonal`, elements (r, r) of each part stay too. Any type of 1, 2 or 4 bytes; the bytes of
/// `dense` may lie unaligned. The result has a buffer of its own.
/// Cost    one pass over `dense`, along its memory whether it is transposed or not.
Tensor mask_dense(const Tensor& dense, const Fold& fold, const BlockMask& mask, bool diagonal,
                  ThreadPool& pool);

}  // namespace espalier
