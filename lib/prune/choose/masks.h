#pragma once

#include <map>
#include <string>

#include "lib/prune/choose/plan.h"

namespace espalier {

/// A plan from ready masks (weight name -> bool array of the weight's shape) instead of scores:
/// what each mask keeps, as options.block or else as the largest usual block that it consists of.
/// A mask lifts what select_layers leaves out by size, name, kind or place, not what
/// options.select excludes or does not ask for. A mask that keeps everything may be of any weight.
/// Errors  Fault::kFormat: a mask of another shape or type, or for a weight that the model has not;
/// Fault::kUnsupported: for a weight that cannot be pruned, with the reason.
PrunePlan plan_from_masks(const Model& model, const PruneOptions& options,
                          const std::map<std::string, Tensor>& masks);

/// One bool tensor per pruned weight, in the weight's shape; true = kept (diagonals kept apart
/// count as kept).
std::map<std::string, Tensor> masks_of(const PrunePlan& plan);
/// The same from the zeros of a model's prunable weights.
std::map<std::string, Tensor> masks_of_zeros(const Model& model, const SelectOptions& options);

/// The plan for another model, whose weights are found by name (a checkpoint of the same network:
/// --rewind).
/// Errors  Fault::kFormat: a pruned weight that `other` lacks, or that has another shape or cannot
///         be pruned there.
PrunePlan retarget(const PrunePlan& plan, const Model& other);

}  // namespace espalier
