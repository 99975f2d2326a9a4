#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/thread_pool.h"
#include "lib/prune/score/criterion.h"
#include "lib/prune/score/statistics.h"
#include "lib/prune/select/selection.h"
#include "lib/sparse/block_mask.h"

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

/// Several rounds, each of which prunes what the one before left. Source  arXiv:1710.01878, eq. 1.
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
  std::string scope = "layer";  ///< global, sensitivity
  std::optional<PruneTarget> target;
  std::optional<Schedule> schedule;
  bool keep_diagonal = true;
  bool refit = true;        ///< kept weights and biases, where there are statistics
  bool sequential = false;  ///< to the inputs that the pruned layers before leave
  std::vector<LayerRule> rules;
  std::string values;  ///< "" = the weight's own type, or f32, f16, bf16, i8
  uint64_t seed = 0;
  std::string profile, index;  ///< how the result is written (formats/format.h); "" = the default;
                               ///< kept for the recipe, not looked at here
};

/// What is to be done to one weight. `mask` is empty for a layer that is left out.
struct LayerPlan {
  Layer layer;
  BlockShape block;
  std::optional<NofM> nm;
  std::string method;
  double sparsity = 0;    ///< asked for
  bool diagonal = false;  ///< kept apart
  BlockMask mask;
};

/// Same plan + same model = same bytes.
struct PrunePlan {
  PruneOptions options;
  std::vector<LayerPlan> layers;
};

/// Selects, scores and chooses. Of blocks with equal scores the one of the lower index goes first.
/// Per layer the dropped weights come as near to the asked share as whole blocks allow; with scope
/// global all layers without a target of their own share one threshold.
/// Errors  Fault::kUsage: a bad option or pattern, a rule that matches no weight, gate densities of
/// the wrong number, different methods under one global threshold, a method that needs
/// `statistics` without any; Fault::kFormat: statistics of another model. A layer that they lack is
/// chosen by l2, with a warning.
PrunePlan make_plan(const Model& model, const PruneOptions& options, ThreadPool& pool,
                    const Statistics* statistics = nullptr);

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
/// --rewind). Errors  Fault::kFormat: a pruned weight that `other` lacks, or that has another
/// shape or cannot be pruned there.
PrunePlan retarget(const PrunePlan& plan, const Model& other);

/// Dropped weights become zeros, all others keep their bits. Still dense.
Model apply_plan(const Model& model, const PrunePlan& plan, ThreadPool& pool);

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
/// The values of packed weights as `values` (f32, f16, bf16, i8; "" = as they are). Errors  those
/// of with_values, with the weight's name in front.
Model with_packed_values(const Model& model, std::string_view values);
/// Every packed weight decoded.
Model decode_weights(const Model& model);

/// The largest block shape, each side up to 64, by which the zeros of a dense weight lie, or the
/// blocks of a packed one; nothing below 1 % zeros. By a shape they lie if at most 1 % of the
/// zeros, and at most one for ten kept weights, are outside of blocks that are zero altogether.
/// `square`: diagonals of parts are not looked at. Of equal areas the one with more rows.
std::optional<BlockShape> block_pattern(const Weight& weight, const Fold& fold, bool square);
/// Share of zero elements, diagonals of square parts not counted where `skip_diagonal`.
double zero_share(const Weight& weight, const Fold& fold, bool skip_diagonal);

}  // namespace espalier
