#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/thread_pool.h"
#include "lib/prune/criterion.h"
#include "lib/prune/selection.h"
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
};

struct PruneOptions {
  SelectOptions select;
  double sparsity = 0.5;
  BlockShape block{16, 1};
  std::optional<NofM> nm;
  std::string method = "l2";
  std::string scope = "layer";  ///< or global
  bool keep_diagonal = true;
  std::vector<LayerRule> rules;
  std::string values;  ///< "" = the weight's own type, or f32, f16
  uint64_t seed = 0;
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

/// Selects, scores and chooses. Ties go to the lower index.
/// Errors  Fault::kUsage: a bad pattern, a rule that matches no weight, gate densities of the wrong
/// number, N:M that does not fit.
PrunePlan make_plan(const Model& model, const PruneOptions& options, ThreadPool& pool);

/// A plan from ready masks (weight name -> bool array of the weight's shape) instead of scores:
/// what each mask keeps, packed as 1x1 or as the largest block that it consists of. Errors
/// Fault::kFormat: a mask of another shape or type, or for a weight that the model has not.
PrunePlan plan_from_masks(const Model& model, const PruneOptions& options,
                          const std::map<std::string, Tensor>& masks);

/// One bool tensor per pruned weight, in the weight's shape; true = kept (diagonals kept apart
/// count as kept).
std::map<std::string, Tensor> masks_of(const PrunePlan& plan);
/// The same from the zeros of a model's prunable weights.
std::map<std::string, Tensor> masks_of_zeros(const Model& model, const SelectOptions& options);

/// Dropped weights become zeros, all others keep their bits. Still dense.
Model apply_plan(const Model& model, const PrunePlan& plan, ThreadPool& pool);

/// Masked weights become SparseMatrix where that is smaller; with plan.options.values = f16 their
/// values are rounded first.
Model pack_weights(const Model& masked, const PrunePlan& plan, ThreadPool& pool);

/// How `convert` packs: zeros that are there already, nothing pruned. `block` nothing: per weight
/// the smallest that loses no bit.
Model pack_existing(const Model& model, std::optional<BlockShape> block, ThreadPool& pool);
/// Every packed weight decoded.
Model decode_weights(const Model& model);

/// The largest block shape by which the zeros of a dense or packed weight lie ("16x1", "1x1"),
/// nothing where there is no pattern (no zeros).
std::optional<BlockShape> block_pattern(const Weight& weight, const Fold& fold, bool square);
/// Share of zero elements, diagonals of square parts not counted where `skip_diagonal`.
double zero_share(const Weight& weight, const Fold& fold, bool skip_diagonal);

}  // namespace espalier
