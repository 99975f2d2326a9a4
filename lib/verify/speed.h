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
  std::vector<std::optional<double>> layer_dense, layer_packed;
  std::vector<std::string> ran_dense;  ///< packed weights that run dense because that is quicker
};

/// Of the whole models alone, interleaved on the first feed, whose names are those of `reference`.
SpeedChecks time_whole(const Model& dense, const Model& packed, const Model& reference,
                       const Evaluation& evaluation, const ExecutorOptions& options);

/// Of the masked against the packed model, and of each layer's node.
SpeedChecks measure_speed(const PackedModels& models, const Evaluation& evaluation,
                          const ExecutorOptions& options);

}  // namespace espalier
