#include <Eigen/Cholesky>
#include <algorithm>
#include <cmath>
#include <limits>

#include "lib/base/checked_math.h"
#include "lib/prune/score/criterion.h"
#include "lib/prune/score/layer_moments.h"
#include "lib/prune/score/row_group.h"

namespace espalier {
namespace {

using Eigen::Index;
using Eigen::MatrixXd;

constexpr double kNever = std::numeric_limits<double>::infinity();

// Goes over the columns once, from left to right, a batch of block columns at a time: of each batch
// the cheapest blocks of all row groups are dropped, and the columns to the right make up for them.
class Sweep {
 public:
  Sweep(const ScoreContext& context, ThreadPool& pool)
      : context_(context),
        pool_(pool),
        grid_rows_(ceil_div(context.weight.fold.rows, context.block.rows)),
        grid_cols_(ceil_div(context.weight.fold.cols, context.block.cols)),
        groups_(context.weight.fold.parts * grid_rows_),
        losses_(groups_.size() * grid_cols_, 0.0),
        dropped_(losses_.size(), false) {
    for (const MomentGroup& moments : context.moments->groups)
      factors_.push_back(inverse_of(moments, pool).llt().matrixU());
    pool.for_each(groups_.size(), [&](size_t i) {
      groups_[i] = row_group(context, i / grid_rows_, i % grid_rows_);
    });
  }

  void run() {
    constexpr size_t kBatch = 128;  // columns, as in the paper
    const size_t batch =
        context_.of != 0 ? context_.of : std::max<size_t>(1, kBatch / context_.block.cols);
    const size_t run = context_.run != 0 ? context_.run : grid_cols_;
    for (size_t first = 0, last = 0; first < grid_cols_; first = last) {
      last = std::min(first + batch, (first / run + 1) * run);
      last = std::min(last, grid_cols_);
      pool_.for_each(groups_.size(), [&](size_t i) { measure(i, first, last); });
      if (context_.of != 0) {
        const size_t lack = batch - (last - first);  // a group at the edge keeps its share
        const size_t keep = ceil_div(context_.keep * (batch - lack), context_.of);
        for (size_t i = 0; i < groups_.size(); ++i)
          choose(i, i + 1, first, last, last - first - keep);
      } else {
        const auto wanted = static_cast<size_t>(
            std::llround(context_.sparsity * static_cast<double>(groups_.size() * last)));
        choose(0, groups_.size(), first, last, wanted - std::min(wanted, count_));
      }
      pool_.for_each(groups_.size(), [&](size_t i) { drop(i, first, last); });
    }
  }

  /// Dropped blocks lie below 1, kept ones above.
  void scores(std::span<float> result) const {
    double sum = 0;
    for (const double loss : losses_) sum += std::isfinite(loss) ? loss : 0;
    const double scale = sum > 0 ? static_cast<double>(losses_.size()) / sum : 1;
    for (size_t i = 0; i < losses_.size(); ++i) {
      const double loss = losses_[i] * scale;
      result[i] = static_cast<float>(dropped_[i] ? loss / (1 + loss) : 1 + loss);
    }
  }

 private:
  Index start(size_t block) const { return static_cast<Index>(block * context_.block.cols); }
  Index size(size_t block, Index cols) const {
    return std::min<Index>(context_.block.cols, cols - start(block));
  }

  const MatrixXd& factor(size_t group) const {
    const size_t part = group / grid_rows_;
    const auto& all = context_.moments->groups;
    size_t i = 0;
    while (part < all[i].first_part || part >= all[i].first_part + all[i].parts) ++i;
    return factors_[i];
  }

  // The change of the block's rows in units of its part of U: w_B (U_BB)^-1.
  MatrixXd change(size_t group, size_t block) const {
    const MatrixXd &w = groups_[group].weights, &u = factor(group);
    const Index from = start(block), count = size(block, w.cols());
    return u.block(from, from, count, count)
        .triangularView<Eigen::Upper>()
        .solve<Eigen::OnTheRight>(w.middleCols(from, count));
  }

  void measure(size_t group, size_t first, size_t last) {
    const auto& pinned = groups_[group].rules.pinned;
    for (size_t block = first; block < last; ++block) {
      losses_[group * grid_cols_ + block] =
          pinned[block] ? kNever : change(group, block).squaredNorm();
    }
  }

  // Marks the `count` cheapest blocks of these row groups and block columns.
  void choose(size_t first_group, size_t last_group, size_t first, size_t last, size_t count) {
    std::vector<size_t> order;
    for (size_t group = first_group; group < last_group; ++group) {
      for (size_t block = first; block < last; ++block) {
        const size_t index = group * grid_cols_ + block;
        if (losses_[index] != kNever) order.push_back(index);
      }
    }
    count = std::min(count, order.size());
    std::ranges::stable_sort(order, {}, [&](size_t index) { return losses_[index]; });
    for (size_t i = 0; i < count; ++i) dropped_[order[i]] = true;
    count_ += count;
  }

  void drop(size_t group, size_t first, size_t last) {
    MatrixXd& w = groups_[group].weights;
    const MatrixXd& u = factor(group);
    for (size_t block = first; block < last; ++block) {
      if (!dropped_[group * grid_cols_ + block]) continue;
      const MatrixXd amount = change(group, block);
      const Index from = start(block), count = size(block, w.cols());
      const Index after = from + count, rest = w.cols() - after;
      w.rightCols(rest).noalias() -= amount * u.block(from, after, count, rest);
      w.middleCols(from, count).setZero();
    }
  }

  const ScoreContext& context_;
  ThreadPool& pool_;
  size_t grid_rows_, grid_cols_;
  std::vector<RowGroup> groups_;
  std::vector<double> losses_;
  std::vector<bool> dropped_;
  std::vector<MatrixXd> factors_;  // U of H^-1 = U^T U, per group of moments
  size_t count_ = 0;
};

/// SparseGPT over blocks: the loss of a block is summed over its rows. The mask is made for the
/// layer's sparsity (with gate densities: their mean).
/// Source  arXiv:2301.00774, algorithm 1.
void score_layer(const ScoreContext& context, ThreadPool& pool, std::span<float> scores) {
  Sweep sweep(context, pool);
  sweep.run();
  sweep.scores(scores);
}

double multiply_adds(const Fold& fold, BlockShape) {
  const double cols = static_cast<double>(fold.cols);
  const double rows = static_cast<double>(fold.parts * fold.rows);
  return cols * cols * cols * 2 / 3 + rows * cols * cols / 2;
}

}  // namespace

constinit const Criterion sparsegpt_criterion{
    .name = "sparsegpt",
    .summary = "loss of the outputs when the columns to the right compensate",
    .area_power = 0,
    .needs_moments = true,
    .one_sparsity = true,
    .score_layer = score_layer,
    .multiply_adds = multiply_adds};

}  // namespace espalier
