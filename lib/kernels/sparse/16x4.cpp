// Blocks of 16 outputs x 4 inputs.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/sparse/16x4.cpp"
#define ESPALIER_ROWS 16
#define ESPALIER_COLS 4
#include "lib/kernels/sparse/block_loops-inl.h"

#if HWY_ONCE
namespace espalier {

extern constinit const SparseKernel kernel_16x4{
    .name = kLoops.name, .block = {16, 4}, .prepare = [](const SparseMatrix& weight) {
      return make_block_product(weight, kLoops);
    }};

}  // namespace espalier
#endif  // HWY_ONCE
