#pragma once

#include <optional>
#include <string_view>

#include "lib/base/thread_pool.h"
#include "lib/prune/choose/plan.h"

namespace espalier {

/// The planned weights become SparseMatrix where that is smaller (is_sparse() of the result tells),
/// else masked dense ones; packed values are rounded to plan.options.values. Blocks that hold only
/// zeros, of either sign, are not stored. `model` may be the one that was planned for or what
/// apply_plan made of it: the result is the same, without apply_plan no masked copy is ever held.
/// Errors  those of with_values, with the weight's name in front.
Model pack_weights(const Model& model, const PrunePlan& plan, ThreadPool& pool);

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
