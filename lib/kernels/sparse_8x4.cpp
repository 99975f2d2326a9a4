// Blocks of 8 outputs x 4 inputs.
#include "lib/kernels/block_product.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/sparse_8x4.cpp"
#include <hwy/foreach_target.h>  // compiles this file once per instruction set
#include <hwy/highway.h>
// after foreach_target.h
#include "lib/kernels/block_kernel-inl.h"

HWY_BEFORE_NAMESPACE();
namespace espalier::HWY_NAMESPACE {

void inner_8x4(const InnerTask& task) { block_inner<8, 4>(task); }
void outer_8x4(const OuterTask& task) { block_outer<8, 4>(task); }
void panel_8x4(const PanelTask& task) { block_panel<8, 4>(task); }

}  // namespace espalier::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace espalier {
namespace {

HWY_EXPORT(inner_8x4);
HWY_EXPORT(outer_8x4);
HWY_EXPORT(panel_8x4);

constexpr BlockKernel kLoops{
    .name = "8x4",
    .beside = 2,
    .inner =
        [](const InnerTask& task) {
          HWY_DYNAMIC_DISPATCH(inner_8x4)
          (task);
        },
    .outer =
        [](const OuterTask& task) {
          HWY_DYNAMIC_DISPATCH(outer_8x4)
          (task);
        },
    .panel =
        [](const PanelTask& task) {
          HWY_DYNAMIC_DISPATCH(panel_8x4)
          (task);
        },
};

std::unique_ptr<const SparseProduct> prepare(const SparseMatrix& weight) {
  return make_block_product(weight, kLoops);
}

}  // namespace

extern constinit const SparseKernel kernel_8x4{.name = "8x4", .block = {8, 4}, .prepare = prepare};

}  // namespace espalier
#endif  // HWY_ONCE
