// What a source for one block shape has besides its record in kernels.def: the loops of
// block_inner-inl.h and block_outer-inl.h for ESPALIER_ROWS x ESPALIER_COLS, and kLoops, which
// picks those of the instruction set in use. Included once per instruction set, by a source that
// has set HWY_TARGET_INCLUDE to itself.
#include <hwy/foreach_target.h>  // compiles that source once per instruction set
#include <hwy/highway.h>
// after foreach_target.h
#include "lib/kernels/sparse/block_inner-inl.h"
#include "lib/kernels/sparse/block_outer-inl.h"

HWY_BEFORE_NAMESPACE();
namespace espalier::HWY_NAMESPACE {
namespace {

void inner(const InnerTask& task) { block_inner<ESPALIER_ROWS, ESPALIER_COLS>(task); }
void outer(const OuterTask& task) { block_outer<ESPALIER_ROWS, ESPALIER_COLS>(task); }
void panel(const PanelTask& task) { block_panel<ESPALIER_ROWS, ESPALIER_COLS>(task); }

}  // namespace
}  // namespace espalier::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace espalier {
namespace {

HWY_EXPORT(inner);
HWY_EXPORT(outer);
HWY_EXPORT(panel);

constexpr BlockKernel kLoops{
    .name = HWY_STR(ESPALIER_ROWS) "x" HWY_STR(ESPALIER_COLS),
    .inner =
        [](const InnerTask& task) {
          HWY_DYNAMIC_DISPATCH(inner)
          (task);
        },
    .outer =
        [](const OuterTask& task) {
          HWY_DYNAMIC_DISPATCH(outer)
          (task);
        },
    .panel =
        [](const PanelTask& task) {
          HWY_DYNAMIC_DISPATCH(panel)
          (task);
        },
};

}  // namespace
}  // namespace espalier
#endif  // HWY_ONCE
