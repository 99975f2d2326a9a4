#include "lib/prune/score/obs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "lib/base/checked_math.h"
#include "lib/prune/score/obs_wide.h"

namespace espalier {
namespace {

using Eigen::Index;

// Rounding of f32 times this stays well below 1 % of the smallest diagonal that can be left.
constexpr double kLargestInflation = 1e4;
// Blocks of more columns are traced by obs_wide.h.
constexpr uint32_t kMostPlanes = 32;

// Blocks of several columns have their corners P_BB, weights and losses in planes: element i of all
// blocks one after the other, so that a loop over blocks is one over neighbours.
template <typename T>
class Surgeon {
 public:
  Surgeon(const Eigen::MatrixXd& weights, const Eigen::VectorXd& scale, SymmetricPanels<T> inverse,
          uint32_t block_cols, const RemovalRules& rules)
      : p_(std::move(inverse)),
        width_(block_cols),
        rows_(static_cast<size_t>(weights.rows())),
        plane_(round_up(p_.side() / width_, kLine)),
        stride_((width_ * plane_ / kLine | 1) * kLine),
        rules_(rules),
        w_(rows_ * stride_, 0),
        columns_(width_ * round_up(p_.side(), kLine), 0),
        v_(width_ * plane_, 0),
        diagonal_(plane_, 1),
        bar_(plane_, kInfinity),
        loss_(plane_, kInfinity),
        share_(rows_, 0),
        names_(p_.side() / width_),
        is_gone_(names_.size(), false) {
    std::iota(names_.begin(), names_.end(), 0U);
    if (rules.group != 0) left_.assign(rules.group_of(names_.size() - 1) + 1, rules.removable);
    load(weights, scale);
    for (size_t b = 0; b < names_.size(); ++b) bar_[b] = may_go(b) ? 0 : kInfinity;
    if (width_ > 1) load_corners();
  }

  std::vector<Removal> run() {
    std::vector<Removal> trace;
    trace.reserve(names_.size());
    T lowest = width_ == 1 ? make_up_all() : block_losses();  // nothing to make up for yet
    while (lowest < kInfinity) {
      const size_t block = first_of(lowest);
      trace.push_back({names_[block], double{lowest} * unit_ * unit_});
      bar_[block] = kInfinity;
      is_gone_[block] = true;
      if (rules_.group != 0) count_in_group(names_[block]);
      lowest = width_ == 1 ? remove_column(block) : remove_block(block);
      if (p_.waiting() + width_ > SymmetricPanels<T>::kWaiting) tidy();
    }
    return trace;
  }

 private:
  static constexpr T kInfinity = std::numeric_limits<T>::infinity();
  static constexpr T kLeast = std::numeric_limits<T>::min();
  static constexpr size_t kLine = SymmetricPanels<T>::kWidth;

  // Weights of column `i` of all blocks.
  T* row(size_t r, size_t i) { return w_.data() + r * stride_ + i * plane_; }

  // In units of the largest, so that no square overflows.
  void load(const Eigen::MatrixXd& weights, const Eigen::VectorXd& scale) {
    for (Index c = 0; c < weights.cols(); ++c)
      unit_ = std::max(unit_, weights.col(c).cwiseAbs().maxCoeff() / scale(c));
    if (!(unit_ > 0)) unit_ = 1;
    for (Index c = 0; c < weights.cols(); ++c) {
      const size_t b = static_cast<size_t>(c) / width_, i = static_cast<size_t>(c) % width_;
      for (Index r = 0; r < weights.rows(); ++r)
        row(static_cast<size_t>(r), i)[b] = static_cast<T>(weights(r, c) / scale(c) / unit_);
    }
  }

  bool may_go(size_t b) const {
    const size_t name = names_[b];
    if (!rules_.pinned.empty() && rules_.pinned[name]) return false;
    return rules_.group == 0 || left_[rules_.group_of(name)] != 0;
  }

  void count_in_group(size_t name) {
    const size_t group = rules_.group_of(name);
    if (--left_[group] != 0) return;
    for (size_t b = 0; b < names_.size(); ++b) {
      if (rules_.group_of(names_[b]) == group) bar_[b] = kInfinity;
    }
  }

  // Of the blocks of this loss the one of the lowest index.
  size_t first_of(T loss) const {
    size_t best = names_.size();
    for (size_t b = 0; b < names_.size(); ++b) {
      if (loss_[b] == loss && (best == names_.size() || names_[b] < names_[best])) best = b;
    }
    return best;
  }

  // One column: its share of each row and what that does to the losses.
  T make_up_all() {
    return make_up(w_.data(), rows_, stride_, names_.size(), share_.data(), v_.data(),
                   diagonal_.data(), bar_.data(), loss_.data());
  }

  T remove_column(size_t j) {
    p_.read(j, v_.data());
    const T by = 1 / std::sqrt(std::max(diagonal_[j], kLeast));
    for (size_t i = 0; i < p_.side(); ++i) v_[i] *= by;
    for (size_t r = 0; r < rows_; ++r) share_[r] = row(r, 0)[j] * by;
    const T lowest = make_up_all();
    for (size_t r = 0; r < rows_; ++r) row(r, 0)[j] = 0;
    p_.subtract(v_.data());
    return lowest;
  }

  // With P_BB = L L^T: the columns of P_:B L^-T one after the other, each with its share of the
  // rows, L^-1 w_B.
  T remove_block(size_t b) {
    const size_t side = p_.side(), step = columns_.size() / width_;
    std::vector<double> l(width_ * width_);
    for (size_t i = 0; i < l.size(); ++i) l[i] = corners_[i * corner_plane_ + b];
    factorise(l, 1);
    for (size_t c = 0; c < width_; ++c) p_.read(b * width_ + c, columns_.data() + c * step);
    for (size_t c = 0; c < width_; ++c) {
      T* column = columns_.data() + c * step;
      for (size_t k = 0; k < c; ++k) {
        const auto before = static_cast<T>(l[c * width_ + k]);
        subtract_outer(column, 1, step, side, &before, columns_.data() + k * step);
      }
      const auto by = static_cast<T>(1 / l[c * width_ + c]);
      for (size_t i = 0; i < side; ++i) column[i] *= by;
      for (size_t i = 0; i < side; ++i) v_[i % width_ * plane_ + i / width_] = column[i];
      // What earlier columns took is gone from w already: of L^-1 w_B only the division is left.
      for (size_t r = 0; r < rows_; ++r) share_[r] = row(r, c)[b] * by;
      for (size_t i = 0; i < width_; ++i) {
        subtract_outer(row(0, i), rows_, stride_, names_.size(), share_.data(),
                       v_.data() + i * plane_);
      }
      take_from_corners();
      if (p_.waiting() == SymmetricPanels<T>::kWaiting) p_.flush();
      p_.subtract(column);
    }
    for (size_t r = 0; r < rows_; ++r) {
      for (size_t i = 0; i < width_; ++i) row(r, i)[b] = 0;
    }
    return block_losses();
  }

  void load_corners() {
    corner_plane_ = names_.size();
    corners_.resize(width_ * width_ * corner_plane_);
    factors_.resize(corners_.size());
    solved_.resize(width_ * plane_);
    for (size_t c = 0; c < p_.side(); ++c) {
      p_.read_stored(c, columns_.data());
      const size_t b = c / width_, j = c % width_;
      for (size_t i = 0; i < width_; ++i)
        corners_[(i * width_ + j) * corner_plane_ + b] = columns_[b * width_ + i];
    }
  }

  void take_from_corners() {
    for (size_t i = 0; i < width_; ++i) {
      for (size_t j = 0; j <= i; ++j) {
        double* to = corners_.data() + (i * width_ + j) * corner_plane_;
        const T *vi = v_.data() + i * plane_, *vj = v_.data() + j * plane_;
        for (size_t b = 0; b < names_.size(); ++b) to[b] -= double{vi[b]} * double{vj[b]};
      }
    }
  }

  // Lower Cholesky factors in place, of `count` matrices whose elements lie in planes of as many.
  void factorise(std::vector<double>& a, size_t count) const {
    const size_t plane = a.size() / (width_ * width_);
    for (size_t j = 0; j < width_; ++j) {
      const double* pivot = a.data() + (j * width_ + j) * plane;
      for (size_t i = j; i < width_; ++i) {
        double* to = a.data() + (i * width_ + j) * plane;
        for (size_t k = 0; k < j; ++k) {
          const double* left = a.data() + (i * width_ + k) * plane;
          const double* right = a.data() + (j * width_ + k) * plane;
          for (size_t b = 0; b < count; ++b) to[b] -= left[b] * right[b];
        }
        for (size_t b = 0; b < count; ++b)
          to[b] = i == j ? std::sqrt(std::max(to[b], double{kLeast})) : to[b] / pivot[b];
      }
    }
  }

  // Squares of L^-1 w_B, summed over the rows.
  T block_losses() {
    const size_t blocks = names_.size();
    std::ranges::copy(corners_, factors_.begin());
    factorise(factors_, blocks);
    std::fill_n(loss_.begin(), blocks, T{0});
    for (size_t r = 0; r < rows_; ++r) {
      for (size_t i = 0; i < width_; ++i) {
        T* to = solved_.data() + i * plane_;
        std::copy_n(row(r, i), blocks, to);
        for (size_t k = 0; k < i; ++k) {
          const double* l = factors_.data() + (i * width_ + k) * corner_plane_;
          const T* from = solved_.data() + k * plane_;
          for (size_t b = 0; b < blocks; ++b) to[b] -= static_cast<T>(l[b]) * from[b];
        }
        const double* pivot = factors_.data() + (i * width_ + i) * corner_plane_;
        for (size_t b = 0; b < blocks; ++b) {
          to[b] /= static_cast<T>(pivot[b]);
          loss_[b] += to[b] * to[b];
        }
      }
    }
    T lowest = kInfinity;
    for (size_t b = 0; b < blocks; ++b) {
      if (bar_[b] != 0) loss_[b] = kInfinity;
      lowest = std::min(lowest, loss_[b]);
    }
    return lowest;
  }

  // What waits reaches P, and the last blocks move to where others are gone.
  void tidy() {
    p_.flush();
    const auto remain = static_cast<size_t>(std::ranges::count(is_gone_, false));
    size_t last = names_.size();
    for (size_t b = 0; b < remain; ++b) {
      if (!is_gone_[b]) continue;
      do --last;
      while (is_gone_[last]);
      for (size_t i = 0; i < width_; ++i) move_column(last * width_ + i, b * width_ + i);
      move_block(last, b);
    }
    names_.resize(remain);
    is_gone_.assign(remain, false);
    p_.cut(remain * width_);
    std::fill(bar_.begin() + static_cast<Index>(remain), bar_.end(), kInfinity);
  }

  void move_column(size_t from, size_t to) {
    p_.read_stored(from, columns_.data());
    columns_[to] = columns_[from];  // the diagonal
    p_.write(to, columns_.data());
  }

  void move_block(size_t from, size_t to) {
    names_[to] = names_[from];
    bar_[to] = bar_[from];
    loss_[to] = loss_[from];
    diagonal_[to] = diagonal_[from];
    for (size_t r = 0; r < rows_; ++r) {
      for (size_t i = 0; i < width_; ++i) row(r, i)[to] = row(r, i)[from];
    }
    for (size_t i = 0; i < corners_.size(); i += corner_plane_)
      corners_[i + to] = corners_[i + from];
  }

  SymmetricPanels<T> p_;
  size_t width_, rows_, plane_, stride_, corner_plane_ = 0;
  const RemovalRules& rules_;
  double unit_ = 0;              // of weights
  std::vector<T> w_;             // `rows_` times `width_` planes, inputs in P's order
  std::vector<T> columns_;       // of P, as it has them
  std::vector<T> v_;             // what is subtracted, in planes
  std::vector<T> diagonal_;      // of P where blocks have one column, up to date
  std::vector<T> bar_, loss_;    // per block; bar: 0, or infinite where it may not go
  std::vector<T> share_;         // per row
  std::vector<double> corners_;  // of blocks of several columns, up to date
  std::vector<double> factors_;  // of these
  std::vector<T> solved_;        // scratch of block_losses()
  std::vector<uint32_t> names_;  // block columns in P's order
  std::vector<bool> is_gone_;    // of those
  std::vector<uint32_t> left_;   // per group: how many may still go
};

}  // namespace

ObsStart obs_start(const Eigen::MatrixXd& inverse, const Eigen::VectorXd& diagonal_of_h,
                   uint32_t block_cols) {
  const auto cols = static_cast<size_t>(inverse.rows());
  const Eigen::VectorXd scale =
      inverse.diagonal().cwiseMax(std::numeric_limits<double>::min()).cwiseSqrt();
  if (block_cols > kMostPlanes) return {block_cols, scale, inverse};
  const auto fill = [&]<typename T>(SymmetricPanels<T> panels) {
    std::vector<T> column(panels.side());
    for (size_t j = 0; j < panels.side(); ++j) {
      std::fill(column.begin(), column.end(), T{0});
      for (size_t i = 0; i < cols && j < cols; ++i) {
        const auto r = static_cast<Index>(i), c = static_cast<Index>(j);
        column[i] = static_cast<T>(inverse(r, c) / (scale(r) * scale(c)));
      }
      column[j] = 1;
      panels.write(j, column.data());
    }
    return ObsStart{block_cols, scale, std::move(panels)};
  };
  const size_t side = round_up(cols, block_cols);
  const double inflation = inverse.diagonal().cwiseProduct(diagonal_of_h).maxCoeff();
  return inflation > kLargestInflation ? fill(SymmetricPanels<double>(side))
                                       : fill(SymmetricPanels<float>(side));
}

std::vector<Removal> obs_trace(const Eigen::MatrixXd& weights, const ObsStart& start,
                               const RemovalRules& rules) {
  if (const auto* inverse = std::get_if<Eigen::MatrixXd>(&start.inverse))
    return obs_trace_wide(weights, *inverse, start.block_cols, rules);
  const auto trace = [&]<typename T>(const SymmetricPanels<T>& inverse) {
    return Surgeon<T>(weights, start.scale, inverse, start.block_cols, rules).run();
  };
  if (const auto* in_f32 = std::get_if<SymmetricPanels<float>>(&start.inverse))
    return trace(*in_f32);
  return trace(std::get<SymmetricPanels<double>>(start.inverse));
}

}  // namespace espalier
