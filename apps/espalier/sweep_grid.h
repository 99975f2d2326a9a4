#pragma once

#include <string>
#include <vector>

#include "apps/espalier/prune_settings.h"

namespace espalier {

/// The command line of sweep: that of prune with lists in the place of five of its options.
struct SweepArgs {
  PruneArgs prune;
  std::vector<std::string> methods, blocks, values, efforts;  ///< empty: the default of each
  std::vector<double> sparsities;
  std::string ending;                         ///< of the files; "" = that of MODEL's format
  double warmup = 0.2, seconds = 1;           ///< of each point's time
  std::string shard, pick, pick_by = "size";  ///< I/N; max-drop D; size or speed
  std::vector<std::string> merge;
};

/// One point: what prune is to do for it. Points of one `group` differ in sparsity and values alone,
/// and those of one `weights` in values alone: scores and weights serve for all of them.
struct SweepTask {
  std::string name;    ///< "obs-16x1-0.8": of its files
  std::string effort;  ///< "" where the grid has one
  PruneSettings settings;
  size_t group = 0, weights = 0;
};

/// The grid in its order: effort, method, block, sparsity, values. Files are in `args.prune.output`.
/// Errors  Fault::kUsage: those of prune_settings, a point that is there twice, efforts that all do the
/// same.
std::vector<SweepTask> sweep_tasks(const SweepArgs& args);

/// MODEL with i8 values and nothing pruned. Nothing where files of that kind hold no i8 values.
std::optional<SweepTask> int8_task(const SweepArgs& args);

/// The points [first, last) of `count` that --shard I/N takes; "" takes all.
/// Errors  Fault::kUsage.
std::pair<size_t, size_t> shard_of(const std::string& shard, size_t count);

}  // namespace espalier
