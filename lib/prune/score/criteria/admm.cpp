#include <algorithm>
#include <cmath>
#include <limits>

#include "lib/base/checked_math.h"
#include "lib/kernels/dense/multiply_matrices.h"
#include "lib/prune/score/criterion.h"
#include "lib/prune/score/layer_moments.h"
#include "lib/prune/score/row_group.h"
#include "lib/prune/score/spd.h"

namespace espalier {
namespace {

using Eigen::Index;
using Eigen::MatrixXd;
using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr size_t kMostSteps = 300;
constexpr double kUsualSteps = 15;  // 4 to 18 in docs/algorithms/obs.md
constexpr float kNever = std::numeric_limits<float>::infinity();

Matrix product(const Matrix& a, const Matrix& b, ThreadPool& pool) {
  Matrix result(a.rows(), b.cols());
  multiply_matrices({a.data()}, {b.data()}, static_cast<size_t>(a.rows()),
                    static_cast<size_t>(a.cols()), static_cast<size_t>(b.cols()), result.data(),
                    pool);
  return result;
}

// The rows that share one H, in units of the inputs' size: H has a unit diagonal. With W free to be
// anything, D of blocks on the support alone and V, the price of their difference, D is W + V / rho
// on the support and V / rho is that elsewhere: one matrix holds both.
struct Rows {
  MatrixXd h;
  Matrix wanted;  // W0 H
  Matrix both;    // W + V / rho
};

// Looks for a support: W and D are drawn to each other until they agree.
class Search {
 public:
  Search(const ScoreContext& context, ThreadPool& pool)
      : context_(context),
        pool_(pool),
        grid_rows_(ceil_div(context.weight.fold.rows, context.block.rows)),
        grid_cols_(ceil_div(context.weight.fold.cols, context.block.cols)),
        powers_(context.weight.fold.parts * grid_rows_ * grid_cols_, 0.0F),
        pinned_(powers_.size(), false),
        kept_(powers_.size(), true) {
    for (const MomentGroup& moments : context.moments->groups) load(moments);
  }

  void run() {
    float rho = 0.1F, rho_before = rho;
    for (size_t step = 0; step < kMostSteps; ++step) {
      const std::vector<bool> before = kept_;
      for (size_t g = 0; g < rows_.size(); ++g) move(g, rho, rho_before);
      choose();
      size_t changed = 0;
      for (size_t i = 0; i < kept_.size(); ++i) changed += kept_[i] != before[i] ? 1 : 0;
      if (step != 0 && changed == 0) return;
      rho_before = rho;
      if (step != 0) rho *= 200 * changed > kept_.size() ? 1.3F : 1.1F;
    }
  }

  /// Dropped blocks lie below 1, kept ones above.
  void scores(std::span<float> result) const {
    float most = 0;
    for (const float power : powers_) most = std::isfinite(power) ? std::max(most, power) : most;
    const float scale = most > 0 ? 1 / most : 1;
    for (size_t i = 0; i < powers_.size(); ++i) {
      const float share = powers_[i] * scale;
      result[i] = kept_[i] ? 1 + share : share / (1 + share);
    }
  }

 private:
  void load(const MomentGroup& moments) {
    const Fold& fold = context_.weight.fold;
    const auto cols = static_cast<Index>(fold.cols);
    const Eigen::VectorXd size = moments.h.diagonal().cwiseSqrt();
    const Eigen::VectorXd one_over = size.cwiseInverse();
    Rows& rows = rows_.emplace_back();
    rows.h = one_over.asDiagonal() * moments.h * one_over.asDiagonal();
    rows.both.resize(static_cast<Index>(moments.parts * fold.rows), cols);
    for (size_t i = 0; i < moments.parts * grid_rows_; ++i) {
      const size_t row = moments.first_part * grid_rows_ + i;
      const RowGroup group = row_group(context_, row / grid_rows_, row % grid_rows_);
      const size_t first = i / grid_rows_ * fold.rows + i % grid_rows_ * context_.block.rows;
      rows.both.middleRows(static_cast<Index>(first), group.weights.rows()) =
          (group.weights * size.asDiagonal()).cast<float>();
      for (size_t c = 0; c < grid_cols_; ++c) pinned_[row * grid_cols_ + c] = group.rules.pinned[c];
    }
    rows.wanted = product(rows.both, rows.h.cast<float>(), pool_);
  }

  // W = (W0 H + rho D - V) (H + rho)^-1, and the power of its blocks together with V's.
  void move(size_t g, float rho, float rho_before) {
    Rows& rows = rows_[g];
    MatrixXd damped = rows.h;
    damped.diagonal().array() += double{rho};
    auto inverse = spd_inverse(damped, pool_);
    for (double more = 1; !inverse; more *= 10) {  // moments that are none: from a file
      damped.diagonal().array() += more;
      inverse = spd_inverse(damped, pool_);
    }
    Matrix target = rows.wanted;
    for_each_row(g, [&](size_t block, Index row, Index col, Index count) {
      target.row(row).segment(col, count) +=
          (kept_[block] ? rho : -rho_before) * rows.both.row(row).segment(col, count);
    });
    const Matrix free = product(target, inverse->cast<float>(), pool_);
    for_each_row(g, [&](size_t block, Index row, Index col, Index count) {
      auto both = rows.both.row(row).segment(col, count);
      both *= kept_[block] ? 0 : rho_before / rho;
      both += free.row(row).segment(col, count);
    });
    const size_t first = context_.moments->groups[g].first_part * grid_rows_ * grid_cols_;
    const size_t blocks = context_.moments->groups[g].parts * grid_rows_ * grid_cols_;
    for (size_t i = first; i < first + blocks; ++i) powers_[i] = pinned_[i] ? kNever : 0;
    for_each_row(g, [&](size_t block, Index row, Index col, Index count) {
      powers_[block] += rows.both.row(row).segment(col, count).squaredNorm();
    });
  }

  // Calls visit(block, row of the matrix, first column, columns) for each row of each block.
  template <typename Visit>
  void for_each_row(size_t g, const Visit& visit) {
    const Fold& fold = context_.weight.fold;
    const MomentGroup& moments = context_.moments->groups[g];
    pool_.for_each(moments.parts * grid_rows_, [&](size_t i) {
      const size_t first = i % grid_rows_ * context_.block.rows;
      const size_t last = std::min<size_t>(first + context_.block.rows, fold.rows);
      for (size_t r = first; r < last; ++r) {
        const auto row = static_cast<Index>(i / grid_rows_ * fold.rows + r);
        for (size_t c = 0; c < grid_cols_; ++c) {
          const auto col = static_cast<Index>(c * context_.block.cols);
          const auto count =
              std::min<Index>(context_.block.cols, static_cast<Index>(fold.cols) - col);
          visit((moments.first_part * grid_rows_ + i) * grid_cols_ + c, row, col, count);
        }
      }
    });
  }

  // Of blocks [first, last) all but the `count` weakest are kept; of equal ones the lower index
  // goes first.
  void choose(size_t first, size_t last, size_t count) {
    std::vector<size_t> order(last - first);
    for (size_t i = 0; i < order.size(); ++i) order[i] = first + i;
    count = std::min(count, order.size());
    const auto weaker = [this](size_t a, size_t b) {
      return powers_[a] != powers_[b] ? powers_[a] < powers_[b] : a < b;
    };
    if (count < order.size())
      std::nth_element(order.begin(), order.begin() + static_cast<Index>(count), order.end(),
                       weaker);
    for (size_t i = 0; i < order.size(); ++i) kept_[order[i]] = i >= count || pinned_[order[i]];
  }

  void choose() {
    const size_t of = context_.of;
    if (of == 0) {
      const auto count = static_cast<double>(kept_.size());
      choose(0, kept_.size(), static_cast<size_t>(std::llround(context_.sparsity * count)));
      return;
    }
    const size_t run = context_.run != 0 ? context_.run : grid_cols_;
    for (size_t row = 0; row < kept_.size(); row += grid_cols_) {
      for (size_t first = 0, size = 0; first < grid_cols_; first += size) {
        size = std::min(of, run - first % run);  // at the edge a group keeps its share
        choose(row + first, row + first + size, size - ceil_div(context_.keep * size, of));
      }
    }
  }

  const ScoreContext& context_;
  ThreadPool& pool_;
  size_t grid_rows_, grid_cols_;
  std::vector<Rows> rows_;     // per group of moments
  std::vector<float> powers_;  // per block: sum of squares
  std::vector<bool> pinned_, kept_;
};

double multiply_adds(const Fold& fold, BlockShape) {
  const double cols = static_cast<double>(fold.cols);
  const double rows = static_cast<double>(fold.parts * fold.rows);
  return kUsualSteps * (cols * cols * cols / 2 + rows * cols * cols);
}

/// The support that ADMM ends with for the layer's sparsity (with gate densities: their mean), by
/// sums of squares over blocks. Source  arXiv:2406.07831 (ALPS), algorithm 1, with an inverse for
/// each rho in place of one eigendecomposition: few steps are needed, and these are products.
void score_layer(const ScoreContext& context, ThreadPool& pool, std::span<float> scores) {
  Search search(context, pool);
  search.run();
  search.scores(scores);
}

}  // namespace

constinit const Criterion admm_criterion{
    .name = "admm",
    .summary = "squares of what free weights settle at, drawn to a support of blocks",
    .area_power = 0,
    .needs_moments = true,
    .one_sparsity = true,
    .score_layer = score_layer,
    .multiply_adds = multiply_adds};

}  // namespace espalier
