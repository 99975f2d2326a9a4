#include "lib/prune/refit/refit_rows.h"

#include <Eigen/Cholesky>

#include "lib/prune/score/spd.h"

namespace espalier {
namespace {

using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::VectorXd;

std::vector<Index> places(const std::vector<bool>& kept, bool value) {
  std::vector<Index> result;
  for (size_t i = 0; i < kept.size(); ++i) {
    if (kept[i] == value) result.push_back(static_cast<Index>(i));
  }
  return result;
}

}  // namespace

std::optional<MatrixXd> refit_rows(const MatrixXd& weights, const MatrixXd& h,
                                   const std::vector<bool>& kept, bool diagonal, size_t first_row,
                                   const MatrixXd* inverse) {
  const std::vector<Index> stay = places(kept, true), gone = places(kept, false);
  MatrixXd dropped = weights(Eigen::all, gone);  // [rows, |D|]
  // Rows whose own column is dropped keep it all the same: it does not count as dropped.
  std::vector<std::pair<Index, Index>> own;  // row, column
  for (Index i = 0; diagonal && i < static_cast<Index>(gone.size()); ++i) {
    const Index row = gone[static_cast<size_t>(i)] - static_cast<Index>(first_row);
    if (row < 0 || row >= weights.rows()) continue;
    own.emplace_back(row, gone[static_cast<size_t>(i)]);
    dropped(row, i) = 0;
  }
  MatrixXd result = MatrixXd::Zero(weights.rows(), weights.cols());
  // [|S|, rows]: how much the kept weights of each row change.
  MatrixXd change;
  std::optional<Eigen::LLT<MatrixXd>> factor;
  if (!own.empty()) {
    factor.emplace(h(stay, stay));
    if (factor->info() != Eigen::Success) return std::nullopt;
    change = factor->solve(h(stay, gone) * dropped.transpose());
  } else if (inverse != nullptr && gone.size() < stay.size()) {
    const auto solved = spd_solve((*inverse)(gone, gone), dropped.transpose());
    if (!solved) return std::nullopt;
    change = -((*inverse)(stay, gone) * *solved);
  } else {
    auto solved = spd_solve(h(stay, stay), h(stay, gone) * dropped.transpose());
    if (!solved) return std::nullopt;
    change = *std::move(solved);
  }
  for (const auto& [row, column] : own) {
    // One unknown more in this row: by the Schur complement of its column.
    const VectorXd across = h(stay, column);
    const VectorXd bridge = factor->solve(across);
    const double pivot = h(column, column) - across.dot(bridge);
    const VectorXd at_column = h(gone, column);
    const double wanted = at_column.dot(dropped.row(row)) - across.dot(change.col(row));
    const double step = pivot > 0 ? wanted / pivot : 0;
    change.col(row) -= step * bridge;
    result(row, column) = weights(row, column) + step;
  }
  for (size_t i = 0; i < stay.size(); ++i) {
    result.col(stay[i]) = weights.col(stay[i]) + change.row(static_cast<Index>(i)).transpose();
  }
  if (!result.allFinite()) return std::nullopt;
  return result;
}

}  // namespace espalier
