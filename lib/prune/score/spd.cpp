#include "lib/prune/score/spd.h"

#include <Eigen/Cholesky>
#include <algorithm>

#include "lib/kernels/dense/symmetric_panels.h"

namespace espalier {
namespace {

using Eigen::Index;
using Eigen::MatrixXd;
using Panels = SymmetricPanels<double>;

constexpr auto kStep = static_cast<Index>(Panels::kWaiting);

Panels panels_of(const MatrixXd& a) {
  Panels panels(static_cast<size_t>(a.rows()));
  for (size_t j = 0; j < panels.side(); ++j)
    panels.write(j, a.col(static_cast<Index>(j)).data(), j / Panels::kWidth * Panels::kWidth);
  return panels;
}

// Columns [first, first + count), rows from `row` on.
MatrixXd stored_columns(const Panels& panels, Index first, Index count, Index row) {
  MatrixXd columns(static_cast<Index>(panels.side()), count);
  for (Index c = 0; c < count; ++c) {
    panels.read_stored(static_cast<size_t>(first + c), columns.col(c).data(),
                       static_cast<size_t>(row));
  }
  return columns;
}

void subtract(const MatrixXd& columns, Panels& panels) {
  for (Index c = 0; c < columns.cols(); ++c) panels.subtract(columns.col(c).data());
}

}  // namespace

std::optional<MatrixXd> spd_inverse(const MatrixXd& a, ThreadPool& pool) {
  const Index side = a.rows();
  if (side <= kStep) {
    const Eigen::LLT<MatrixXd> factor(a);
    if (factor.info() != Eigen::Success) return std::nullopt;
    return factor.solve(MatrixXd::Identity(side, side));
  }
  // After the sweep over B: the rest less what B explains of it, what explains it, minus the
  // inverse of B's own square. Over all: minus the inverse.
  Panels panels = panels_of(a);
  for (Index first = 0; first < side; first += kStep) {
    const Index count = std::min(kStep, side - first);
    MatrixXd columns = stored_columns(panels, first, count, 0);
    const Eigen::LLT<MatrixXd> own(columns.middleRows(first, count));
    if (own.info() != Eigen::Success) return std::nullopt;
    own.matrixU().solveInPlace<Eigen::OnTheRight>(columns);  // A_:B L^-T
    columns.middleRows(first, count).setZero();
    subtract(columns, panels);
    panels.flush(0, &pool);
    own.matrixL().solveInPlace<Eigen::OnTheRight>(columns);
    columns.middleRows(first, count) = -own.solve(MatrixXd::Identity(count, count));
    for (Index c = 0; c < count; ++c)
      panels.write(static_cast<size_t>(first + c), columns.col(c).data());
  }
  return -stored_columns(panels, 0, side, 0);
}

std::optional<MatrixXd> spd_solve(const MatrixXd& a, const MatrixXd& b) {
  const Index side = a.rows();
  if (side <= 2 * kStep) {
    const Eigen::LLT<MatrixXd> factor(a);
    if (factor.info() != Eigen::Success) return std::nullopt;
    return factor.solve(b);
  }
  Panels panels = panels_of(a);
  MatrixXd l(side, side);
  for (Index first = 0; first < side; first += kStep) {
    const Index count = std::min(kStep, side - first), after = first + count;
    MatrixXd columns = stored_columns(panels, first, count, first);
    const Eigen::LLT<MatrixXd> own(columns.middleRows(first, count));
    if (own.info() != Eigen::Success) return std::nullopt;
    auto below = columns.bottomRows(side - after);
    own.matrixU().solveInPlace<Eigen::OnTheRight>(below);
    l.block(first, first, count, count) = own.matrixL();
    l.block(after, first, side - after, count) = below;
    if (after == side) break;
    subtract(columns, panels);
    panels.flush(static_cast<size_t>(after));
  }
  const MatrixXd half = l.triangularView<Eigen::Lower>().solve(b);
  return l.transpose().triangularView<Eigen::Upper>().solve(half);
}

}  // namespace espalier
