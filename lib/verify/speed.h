#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lib/verify/evaluation.h"
#include "lib/verify/packed_models.h"

namespace espalier {

/// Times per layer and of the whole model.
struct SpeedChecks {
  double ms_dense = 0, ms_packed = 0;
  size_t runs = 0;    ///< of each model
  double spread = 0;  ///< half the middle half of the rounds' speedups, as a share of the median
  std::vector<std::optional<double>> layer_dense, layer_packed;
  double rest_dense = 0;  ///< ms of all but these layers, as the median of the runs that time them
  std::vector<std::string> ran_dense;  ///< packed weights that run dense because that is quicker
};

/// How often the whole models are timed: once for as long as a trial may take, or in rounds until
/// the speedups of their middle half lie within 2 % of each other, 5 to 16 rounds.
enum class Rounds { kOne, kUntilSteady };

/// Of the whole models alone, interleaved on the first feed, whose names are those of `reference`.
SpeedChecks time_whole(const Model& dense, const Model& packed, const Model& reference,
                       const Evaluation& evaluation, const ExecutorOptions& options,
                       Rounds rounds = Rounds::kOne);

/// Of the masked against the packed model, and of each layer's node.
SpeedChecks measure_speed(const PackedModels& models, const Evaluation& evaluation,
                          const ExecutorOptions& options, Rounds rounds = Rounds::kOne);

}  // namespace espalier
