#pragma once

#include "lib/prune/choose/mask_arrays.h"
#include "lib/prune/choose/plan.h"

namespace espalier {

/// A plan from ready masks instead of scores: what each mask keeps, as options.block or else as the
/// largest usual block that it consists of. Masks have the names of the model's weights, or those
/// that another format makes of them (paired_names), and the shape of the weight but for axes of one
/// element; where a mask says which of its axes counts outputs, outputs and inputs may be exchanged.
/// A mask lifts what select_layers leaves out by size, name, kind or place, not what
/// options.select excludes or does not ask for. A mask that keeps everything may be of any weight.
/// Errors  Fault::kFormat: a mask of another shape or type, or for a weight that the model has not,
/// which lists those that it has; Fault::kUnsupported: for a weight that cannot be pruned, with the reason.
PrunePlan plan_from_masks(const Model& model, const PruneOptions& options, const Masks& masks);

/// One mask per pruned weight, in the weight's shape, with its axis of outputs; true = kept (diagonals kept apart
/// count as kept).
Masks masks_of(const PrunePlan& plan);
/// The same from the zeros of a model's prunable weights.
Masks masks_of_zeros(const Model& model, const SelectOptions& options);

/// The plan for another model, whose weights are found by name (a checkpoint of the same network:
/// --rewind); it may be stored transposed there.
/// Errors  Fault::kFormat: a pruned weight that `other` lacks, or that has another shape or cannot
///         be pruned there.
PrunePlan retarget(const PrunePlan& plan, const Model& other);

}  // namespace espalier
