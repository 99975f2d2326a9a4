// Blocks of 16 outputs x 1 input.
#include "lib/kernels/block_product.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/sparse_16x1.cpp"
#include <hwy/foreach_target.h>  // compiles this file once per instruction set
#include <hwy/highway.h>
// after foreach_target.h
#include "lib/kernels/block_kernel-inl.h"

HWY_BEFORE_NAMESPACE();
namespace espalier::HWY_NAMESPACE {

void inner_16x1(const InnerTask& task) { block_inner<16, 1>(task); }
void outer_16x1(const OuterTask& task) { block_outer<16, 1>(task); }
void panel_16x1(const PanelTask& task) { block_panel<16, 1>(task); }

}  // namespace espalier::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace espalier {
namespace {

HWY_EXPORT(inner_16x1);
HWY_EXPORT(outer_16x1);
HWY_EXPORT(panel_16x1);

constexpr BlockKernel kLoops{
    .name = "16x1",
    .beside = 1,
    .inner =
        [](const InnerTask& task) {
          HWY_DYNAMIC_DISPATCH(inner_16x1)
          (task);
        },
    .outer =
        [](const OuterTask& task) {
          HWY_DYNAMIC_DISPATCH(outer_16x1)
          (task);
        },
    .panel =
        [](const PanelTask& task) {
          HWY_DYNAMIC_DISPATCH(panel_16x1)
          (task);
        },
};

std::unique_ptr<const SparseProduct> prepare(const SparseMatrix& weight) {
  return make_block_product(weight, kLoops);
}

}  // namespace

extern constinit const SparseKernel kernel_16x1{
    .name = "16x1", .block = {16, 1}, .prepare = prepare};

}  // namespace espalier
#endif  // HWY_ONCE
