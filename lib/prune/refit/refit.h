#pragma once

#include <optional>
#include <vector>

#include "lib/base/thread_pool.h"
#include "lib/prune/choose/plan.h"
#include "lib/prune/score/statistics.h"
#include "lib/prune/select/layer_bias.h"

namespace espalier {

/// A layer's bias after its refit; of no other layer that shares the tensor.
struct RefittedBias {
  LayerBias place;
  Tensor bias;
};

/// What apply_plan makes, with the kept weights and the biases refitted.
struct Refitted {
  Model model;
  std::vector<std::optional<RefittedBias>> biases;  ///< parallel to the plan's layers
  std::vector<bool> refitted;                       ///< parallel to them: which have statistics
  size_t rows_kept = 0;  ///< rows that hold infinities or NaN, or whose system could not be solved:
                         ///< masked only
};

/// Changes the kept weights of each row group, and the biases, so that the outputs come nearest to
/// the dense weights' over the calibration inputs. Masks stay as they are, diagonals that are kept
/// apart are refitted too. Layers without statistics are masked as apply_plan does.
///
/// Formula  with S kept and D dropped columns of a group: W_S += W_D H_DS (H_SS)^-1, H damped as
///          layer_moments() does and about the mean where there is a bias; b += (W0 - W) mean.
/// Cost     one Cholesky factorisation of |S| columns per row group, in f64.
/// Source   docs/algorithms/refit.md.
/// Errors   as layer_moments().
Refitted refit(const Model& model, const PrunePlan& plan, const Statistics& statistics,
               ThreadPool& pool);

/// About how many multiply-adds that takes each layer, in blocks of 16 rows.
std::vector<double> refit_costs(const std::vector<Layer>& layers, double sparsity);

/// The same for layer `index` of `result` alone, which was refitted before or not: what `plan`
/// keeps of `model`'s weight. Samples of a changed model beside the unchanged one's
/// (InputMoments::cross) make the outputs come near to those of the unchanged one.
void refit_layer(const Model& model, const LayerPlan& plan, size_t index,
                 const Statistics& statistics, const std::optional<LayerBias>& bias,
                 Refitted& result, ThreadPool& pool);

}  // namespace espalier
