#pragma once

#include <optional>
#include <string_view>

#include "lib/base/thread_pool.h"
#include "lib/prune/choose/plan.h"

namespace espalier {

/// The planned weights become SparseMatrix where that is smaller (is_sparse() of the result tells),
/// else masked dense ones; packed values are rounded to LayerPlan::values, else to
/// plan.options.values. Layers that are left out stay as they are, but for those with values. Blocks that hold only
/// zeros, of either sign, are not stored. `model` may be the one that was planned for or what
/// apply_plan made of it: the result is the same, without apply_plan no masked copy is ever held.
/// Tables of Gather have values of plan.options.values too where these are narrower.
/// Errors  those of with_values, with the weight's name in front.
Model pack_weights(const Model& model, const PrunePlan& plan, ThreadPool& pool);

/// Bytes of a weight of which every block is kept, with values of that type.
uint64_t whole_bytes(const Fold& fold, BlockShape block, bool diagonal, DType weight, DType values);
/// Of the usual blocks, that in which this takes the fewest bytes.
struct WholePacking {
  BlockShape block;
  uint64_t bytes = 0;
};
WholePacking smallest_whole(const Fold& fold, DType weight, DType values);

/// How `convert` packs: zeros that are there already, nothing pruned and no value changed. `block`
/// nothing: per weight the smallest of pack_smallest, packed weights as they are. Else that block,
/// for packed weights too, where it is smaller than dense.
Model pack_existing(const Model& model, std::optional<BlockShape> block, ThreadPool& pool);
/// The values of packed weights as `values` (f32, f16, bf16, i8; "" = as they are).
/// Errors  those of with_values, with the weight's name in front.
Model with_packed_values(const Model& model, std::string_view values);
/// Every packed weight decoded.
Model decode_weights(const Model& model);

}  // namespace espalier
