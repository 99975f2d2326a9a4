// Blocks of 4 outputs x 8 inputs.
#include "lib/kernels/block_product.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/sparse_4x8.cpp"
#include <hwy/foreach_target.h>  // compiles this file once per instruction set
#include <hwy/highway.h>
// after foreach_target.h
#include "lib/kernels/block_kernel-inl.h"

HWY_BEFORE_NAMESPACE();
namespace espalier::HWY_NAMESPACE {

void inner_4x8(const InnerTask& task) { block_inner<4, 8>(task); }
void outer_4x8(const OuterTask& task) { block_outer<4, 8>(task); }
void panel_4x8(const PanelTask& task) { block_panel<4, 8>(task); }

}  // namespace espalier::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace espalier {
namespace {

HWY_EXPORT(inner_4x8);
HWY_EXPORT(outer_4x8);
HWY_EXPORT(panel_4x8);

constexpr BlockKernel kLoops{
    .name = "4x8",
    .beside = 4,
    .panels = 4,
    .inner =
        [](const InnerTask& task) {
          HWY_DYNAMIC_DISPATCH(inner_4x8)
          (task);
        },
    .outer =
        [](const OuterTask& task) {
          HWY_DYNAMIC_DISPATCH(outer_4x8)
          (task);
        },
    .panel =
        [](const PanelTask& task) {
          HWY_DYNAMIC_DISPATCH(panel_4x8)
          (task);
        },
};

std::unique_ptr<const SparseProduct> prepare(const SparseMatrix& weight) {
  return make_block_product(weight, kLoops);
}

}  // namespace

extern constinit const SparseKernel kernel_4x8{.name = "4x8", .block = {4, 8}, .prepare = prepare};

}  // namespace espalier
#endif  // HWY_ONCE
