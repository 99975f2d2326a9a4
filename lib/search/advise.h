#pragma once

#include <optional>
#include <vector>

#include "lib/base/thread_pool.h"
#include "lib/search/cost_model.h"
#include "lib/search/sample_counter.h"

namespace espalier {

/// A model that may be worth pruning, and the feed that it runs with.
struct AdviseSubject {
  PackedModels models;  ///< unpruned()
  Evaluation evaluation;
  ExecutorOptions options;
};

/// What pruning in one block shape would do to the times of the model and of its layers; nothing
/// for layers that cannot be pruned or were not timed.
struct BlockTimes {
  BlockShape block;
  TimeLine model;
  std::vector<std::optional<TimeLine>> layers;
};

/// Runs the whole model, dense and packed with random blocks kept, interleaved,
/// at 60, 80 and 90 % zeros.
/// Errors  those of the runs.
BlockTimes measure_block(const AdviseSubject& subject, BlockShape block, uint64_t seed,
                         ThreadPool& pool);

/// The same from a measurement of another machine: the products of the layers alone.
/// Errors  as predict().
BlockTimes predict_block(const AdviseSubject& subject, const KernelResults& machine,
                         BlockShape block, const SampleCounter& samples);

/// The model in its best block, in each block, and each layer in its best. `all` is not empty.
AdviseResults advise_results(const AdviseSubject& subject, const std::vector<BlockTimes>& all,
                             const SampleCounter& samples);

}  // namespace espalier
