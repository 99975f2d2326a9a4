#pragma once

#include "apps/espalier/sweep_store.h"

namespace espalier {

/// The results of records that are of one sweep, `dense` and `int8` next to them.
SweepResults sweep_results(const std::vector<SweepRecord>& records, const SweepReference& dense,
                           const std::optional<SweepReference>& int8);

/// The point that loses no more than `pick`, "max-drop 1%" or "max-drop 0.3", and whose file is the
/// smallest, or with `by` speed, that runs fastest.
/// Errors  Fault::kUsage: not of that form; Fault::kUnsupported: no metric, or no point keeps it.
size_t pick_point(const SweepResults& sweep, const std::string& pick, const std::string& by);
/// Errors  Fault::kUsage, before any work.
void check_pick(const std::string& pick, const std::string& by);

/// Copies the picked point to DIR/picked.ENDING and its recipe to DIR/picked.recipe.json.
void write_picked(const SweepStore& store, const SweepRecord& record);

/// Copies points and references of other folders to `store` and gives all of their records.
/// Errors  Fault::kUsage naming the folder that is of another sweep; Fault::kFormat.
std::vector<SweepRecord> merge_sweeps(const std::vector<std::string>& folders,
                                      const SweepStore& store);

}  // namespace espalier
