#include "lib/prune/score/obs_wide.h"

#include <Eigen/Cholesky>
#include <algorithm>
#include <limits>
#include <numeric>

#include "lib/base/checked_math.h"

namespace espalier {
namespace {

using Eigen::Index;

// Removals that wait before they reach P: then they do so in one product. Columns of P that are
// asked for in between are brought up to date one at a time.
constexpr Index kWaiting = 32;

class WideSurgeon {
 public:
  WideSurgeon(Eigen::MatrixXd weights, Eigen::MatrixXd inverse, uint32_t block_cols,
              const RemovalRules& rules)
      : w_(std::move(weights)),
        p_(std::move(inverse)),
        width_(static_cast<Index>(block_cols)),
        rules_(rules),
        waiting_(w_.cols(), kWaiting * width_) {
    const Index blocks = static_cast<Index>(ceil_div(static_cast<size_t>(w_.cols()), block_cols));
    names_.resize(static_cast<size_t>(blocks));
    std::iota(names_.begin(), names_.end(), 0U);
    gone_.assign(names_.size(), false);
    for (Index b = 0; b < blocks; ++b)
      corners_.push_back(p_.block(start(b), start(b), size(b), size(b)));
    if (rules.group != 0) left_.assign(rules.group_of(names_.size() - 1) + 1, rules.removable);
  }

  std::vector<Removal> run() {
    std::vector<Removal> trace;
    while (true) {
      double loss = 0;
      const Index block = cheapest(loss);
      if (block < 0) return trace;
      trace.push_back({names_[static_cast<size_t>(block)], std::max(loss, 0.0)});
      remove(block);
      if (++since_ == kWaiting) tidy();
    }
  }

 private:
  // Block `b` of those that P still holds; only the last one of the matrix may be narrower.
  Index start(Index b) const { return b * width_; }
  Index size(Index b) const { return std::min(width_, w_.cols() - start(b)); }

  bool may_go(Index b) const {
    const size_t name = names_[static_cast<size_t>(b)];
    if (gone_[static_cast<size_t>(b)]) return false;
    if (!rules_.pinned.empty() && rules_.pinned[name]) return false;
    return rules_.group == 0 || left_[rules_.group_of(name)] != 0;
  }

  double loss_of(Index b) const {
    const auto& corner = corners_[static_cast<size_t>(b)];
    if (corner.rows() == 1) {
      const double sum = w_.col(start(b)).squaredNorm();
      return sum / std::max(corner(0, 0), std::numeric_limits<double>::min());
    }
    const Eigen::LLT<Eigen::MatrixXd> factor(corner);
    return factor.matrixL().solve(w_.middleCols(start(b), size(b)).transpose()).squaredNorm();
  }

  Index cheapest(double& loss) const {
    Index best = -1;
    for (Index b = 0; b < static_cast<Index>(names_.size()); ++b) {
      if (!may_go(b)) continue;
      const double here = loss_of(b);
      if (best < 0 || here < loss) {
        best = b;
        loss = here;
      }
    }
    return best;
  }

  void remove(Index b) {
    const Index from = start(b), count = size(b);
    // Columns of P as all removals until now leave them.
    Eigen::MatrixXd columns = p_.middleCols(from, count);
    const auto done = waiting_.leftCols(used_);
    columns.noalias() -= done * done.middleRows(from, count).transpose();
    const Eigen::LLT<Eigen::MatrixXd> factor(corners_[static_cast<size_t>(b)]);
    // V = P_:B L^-T, so that P_:B (P_BB)^-1 P_B: = V V^T.
    auto v = waiting_.middleCols(used_, count);
    v = factor.matrixL().solve(columns.transpose()).transpose();
    const Eigen::MatrixXd scaled =
        factor.matrixL().solve(w_.middleCols(from, count).transpose());  // L^-1 w_B^T
    w_.noalias() -= scaled.transpose() * v.transpose();
    w_.middleCols(from, count).setZero();
    for (size_t other = 0; other < names_.size(); ++other) {
      if (gone_[other]) continue;
      const auto rows =
          v.middleRows(start(static_cast<Index>(other)), size(static_cast<Index>(other)));
      corners_[other].noalias() -= rows * rows.transpose();
    }
    used_ += count;
    gone_[static_cast<size_t>(b)] = true;
    if (rules_.group != 0) --left_[rules_.group_of(names_[static_cast<size_t>(b)])];
  }

  // What waits reaches P, and what is gone leaves P, W and the lists.
  void tidy() {
    std::vector<Index> kept;
    std::vector<uint32_t> names;
    std::vector<Eigen::MatrixXd> corners;
    for (size_t b = 0; b < names_.size(); ++b) {
      if (gone_[b]) continue;
      for (Index i = 0; i < size(static_cast<Index>(b)); ++i)
        kept.push_back(start(static_cast<Index>(b)) + i);
      names.push_back(names_[b]);
      corners.push_back(std::move(corners_[b]));
    }
    if (kept.empty()) {  // Eigen's products take no empty operands
      names_.clear();
      return;
    }
    const Eigen::MatrixXd v = waiting_(kept, Eigen::seqN(0, used_));
    Eigen::MatrixXd p = p_(kept, kept);
    p.selfadjointView<Eigen::Lower>().rankUpdate(v, -1.0);
    p.triangularView<Eigen::StrictlyUpper>() = p.transpose();
    p_ = std::move(p);
    w_ = Eigen::MatrixXd(w_(Eigen::all, kept));
    names_ = std::move(names);
    corners_ = std::move(corners);
    gone_.assign(names_.size(), false);
    waiting_.resize(w_.cols(), kWaiting * width_);
    used_ = 0;
    since_ = 0;
  }

  Eigen::MatrixXd w_, p_;
  Index width_;
  const RemovalRules& rules_;
  Eigen::MatrixXd waiting_;  // V of removals that have not reached P
  Index used_ = 0, since_ = 0;
  std::vector<uint32_t> names_;           // block columns that P holds
  std::vector<bool> gone_;                // of those
  std::vector<Eigen::MatrixXd> corners_;  // P_BB of each, up to date
  std::vector<uint32_t> left_;            // per group: how many may still go
};

}  // namespace

std::vector<Removal> obs_trace_wide(const Eigen::MatrixXd& weights, const Eigen::MatrixXd& inverse,
                                    uint32_t block_cols, const RemovalRules& rules) {
  return WideSurgeon(weights, inverse, block_cols, rules).run();
}

}  // namespace espalier
