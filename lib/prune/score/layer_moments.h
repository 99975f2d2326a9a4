#pragma once

// Inside lib/prune only: second moments of a layer's inputs, ready for factorisations.

#include <Eigen/Core>
#include <optional>
#include <vector>

#include "lib/base/thread_pool.h"
#include "lib/prune/score/statistics.h"
#include "lib/prune/select/selection.h"

namespace espalier {

/// Shared by parts [first_part, first_part + parts).
struct MomentGroup {
  size_t first_part = 0, parts = 1;
  uint64_t samples = 0;
  Eigen::MatrixXd h;      ///< [cols, cols], positive definite: moments + damping on the diagonal
  Eigen::VectorXd mean;   ///< [cols]; zeros where the moments are not centred
  Eigen::VectorXd power;  ///< diagonal of the moments without damping
  /// Where the samples x are those of a changed model beside the unchanged one's x0: W0 times
  /// `target` is what comes nearest, multiplied with x, to W0 x0. [cols, cols]; else empty.
  Eigen::MatrixXd target;
  Eigen::VectorXd original_mean;  ///< of x0; `mean` where there is no x0
};

/// Weights [rows, cols] that pruning is to come near to: `weights` as they are, or W0 E[x0 x^T]
/// E[x x^T]^-1 with samples of two models. Both moments are damped alike, so what the samples do
/// not tell stays as it is.
Eigen::MatrixXd wanted_weights(const Eigen::MatrixXd& weights, const MomentGroup& group);

struct LayerMoments {
  std::vector<MomentGroup> groups;

  const MomentGroup& of_part(size_t part) const;
};

/// Share of the mean diagonal that is added to the diagonal, and once more for each sample that is
/// lacking per input: dead inputs and few samples leave a matrix that can be inverted and does not
/// believe them too much.
/// Source  arXiv:2301.00774, section 3.3 (1 %); docs/algorithms/obs.md.
inline constexpr double kDamping = 0.01;

/// `centred`: moments about the mean, for a layer whose bias follows the change of its weights. All
/// inputs dead: the unit matrix, so that plain squares of weights count.
/// Nothing where a part of the layer has no samples.
/// Errors  Fault::kFormat: statistics of another model's weight, or of another shape.
std::optional<LayerMoments> layer_moments(const Model& model, const Layer& layer,
                                          const Statistics& statistics, bool centred);

/// The inverse of group.h. Where rounding left it not positive definite, more damping is added.
Eigen::MatrixXd inverse_of(const MomentGroup& group, ThreadPool& pool);

}  // namespace espalier
