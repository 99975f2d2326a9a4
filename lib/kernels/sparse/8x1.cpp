// Blocks of 8 outputs x 1 input.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/sparse/8x1.cpp"
#define ESPALIER_ROWS 8
#define ESPALIER_COLS 1
#include "lib/kernels/sparse/block_loops-inl.h"

#if HWY_ONCE
namespace espalier {

extern constinit const SparseKernel kernel_8x1{
    .name = kLoops.name, .block = {8, 1}, .prepare = [](const SparseMatrix& weight) {
      return make_block_product(weight, kLoops);
    }};

}  // namespace espalier
#endif  // HWY_ONCE
