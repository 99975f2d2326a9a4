#include "lib/prune/score/obs.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "lib/base/checked_math.h"
#include "lib/base/log.h"
#include "lib/prune/score/criterion.h"
#include "lib/prune/score/layer_moments.h"
#include "lib/prune/score/row_group.h"

namespace espalier {
namespace {

using Eigen::MatrixXd;

// tr(W H W^T): what the layer would lose with all its weights, which is the sum over a trace that
// takes all of them.
double energy(const MatrixXd& weights, const MomentGroup& group) {
  return (weights * group.h).cwiseProduct(weights).sum();
}

/// Each block's score is the loss of the removal that took it, raised to that of the one before
/// where it is less: so the lowest scores of a row group are always the first of its removals, and
/// one trace serves every sparsity. Losses are shares of the layer's output energy.
void score_layer(const ScoreContext& context, ThreadPool& pool, std::span<float> scores) {
  const Fold& fold = context.weight.fold;
  const size_t grid_rows = ceil_div(fold.rows, context.block.rows);
  const size_t grid_cols = ceil_div(fold.cols, context.block.cols);
  std::vector<double> energies(fold.parts * grid_rows, 0.0);
  std::vector<double> losses(scores.size(), std::numeric_limits<double>::infinity());
  std::vector<std::vector<uint32_t>> orders(energies.size());
  Progress progress("traces", energies.size());
  for (const MomentGroup& moments : context.moments->groups) {
    const ObsStart start =
        obs_start(inverse_of(moments, pool), moments.h.diagonal(), context.block.cols);
    pool.for_each(moments.parts * grid_rows, [&](size_t i) {
      const size_t row = moments.first_part * grid_rows + i;
      const RowGroup group = row_group(context, row / grid_rows, row % grid_rows);
      for (const Removal& removal : obs_trace(group.weights, start, group.rules)) {
        losses[row * grid_cols + removal.block_col] = removal.loss;
        orders[row].push_back(removal.block_col);
        energies[row] += removal.loss;
      }
      if (orders[row].size() < grid_cols) energies[row] = energy(group.weights, moments);
      progress.step();
    });
  }
  double sum = 0;
  for (const double one : energies) sum += one;
  const double scale = sum > 0 ? 1 / sum : 1;
  std::ranges::fill(scores, std::numeric_limits<float>::infinity());
  for (size_t row = 0; row < orders.size(); ++row) {
    float last = -1;
    for (const uint32_t col : orders[row]) {
      const auto loss = static_cast<float>(losses[row * grid_cols + col] * scale);
      const float next = std::nextafter(last, std::numeric_limits<float>::max());
      last = last < 0 ? loss : std::max(loss, next);
      scores[row * grid_cols + col] = last;
    }
  }
}

double multiply_adds(const Fold& fold, BlockShape block) {
  const double cols = static_cast<double>(fold.cols);
  const double groups = static_cast<double>(fold.parts * ceil_div(fold.rows, block.rows));
  return groups * (cols * cols * cols / 6 + block.rows * cols * cols) + cols * cols * cols / 2;
}

}  // namespace

constinit const Criterion obs_criterion{
    .name = "obs",
    .summary = "loss of the outputs when the other weights of the rows compensate",
    .area_power = 1,
    .needs_moments = true,
    .score_layer = score_layer,
    .multiply_adds = multiply_adds};

}  // namespace espalier
