#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/prune/select/selection.h"
#include "lib/sparse/block_shape.h"

namespace espalier {

/// N kept of each M neighbours along the inputs.
struct NofM {
  uint32_t keep = 0, of = 0;
};

/// What may differ from layer to layer; what is not set comes from PruneOptions.
struct LayerOptions {
  std::optional<BlockShape> block;
  std::optional<NofM> nm;
  std::optional<double> sparsity;
  std::optional<std::string> method;
  std::vector<double> gate_density;  ///< one per gate in the operator's order
  bool skip = false;
};

struct LayerRule {
  std::string pattern;  ///< RE2, searched in the weight's name; a later rule wins
  LayerOptions options;
  bool optional = false;  ///< may match no weight
};

/// What pruning is to reach, instead of a sparsity.
struct PruneTarget {
  enum class Kind { kSize, kLatency, kDrop } kind = Kind::kSize;
  double value = 0;    ///< bytes of the file, milliseconds of a run, or what the metric may lose
  bool share = false;  ///< kDrop: as a share of the metric
};

/// Several rounds, each of which prunes what the one before left.
/// Source  arXiv:1710.01878, eq. 1.
struct Schedule {
  double start = 0;  ///< sparsity at step 0
  uint32_t steps = 1;
};

struct PruneOptions {
  SelectOptions select;
  double sparsity = 0.5;
  BlockShape block{16, 1};
  std::optional<NofM> nm;
  std::string method = "l2";
  bool method_by_cost = false;  ///< obs, but something cheaper for layers that are too wide for it
  std::string scope = "layer";  ///< global, sensitivity
  std::optional<PruneTarget> target;
  bool confident = false;  ///< a drop is judged by the upper end of its interval
  std::optional<Schedule> schedule;
  bool keep_diagonal = true;
  bool refit = true;        ///< kept weights and biases, where there are statistics
  bool sequential = false;  ///< to the inputs that the pruned layers before leave
  std::vector<LayerRule> rules;
  std::string values;  ///< "" = the weight's own type, or f32, f16, bf16, i8; auto: by layer
  uint64_t seed = 0;
  std::string profile, index;  ///< how the result is written (formats/format.h); "" = the default;
                               ///< kept for the recipe, not looked at here
};

}  // namespace espalier
