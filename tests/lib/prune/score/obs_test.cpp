#include "lib/prune/score/obs.h"

#include <doctest/doctest.h>

#include <Eigen/Cholesky>
#include <Eigen/LU>
#include <cmath>
#include <limits>

#include "lib/prune/refit/refit_rows.h"

namespace espalier {
namespace {

using Eigen::Index;
using Eigen::MatrixXd;

MatrixXd random_matrix(Index rows, Index cols, unsigned seed) {
  std::srand(seed);
  return MatrixXd::Random(rows, cols);
}

// H of correlated inputs.
MatrixXd second_moments(Index inputs, unsigned seed) {
  const MatrixXd x =
      random_matrix(inputs, inputs, seed) * random_matrix(inputs, 3 * inputs, seed + 1);
  return x * x.transpose() / static_cast<double>(3 * inputs) +
         0.05 * MatrixXd::Identity(inputs, inputs);
}

MatrixXd inverse(const MatrixXd& h) {
  return h.llt().solve(MatrixXd::Identity(h.rows(), h.cols()));
}

ObsStart start_of(const MatrixXd& h, uint32_t block_cols) {
  return obs_start(inverse(h), h.diagonal(), block_cols);
}

// The least squared error that weights on `kept` alone can reach, from the normal equations.
double least_error(const MatrixXd& w, const MatrixXd& h, const std::vector<bool>& kept) {
  std::vector<Index> stay;
  for (size_t i = 0; i < kept.size(); ++i) {
    if (kept[i]) stay.push_back(static_cast<Index>(i));
  }
  MatrixXd fit = MatrixXd::Zero(w.rows(), w.cols());
  if (stay.empty()) return (w * h * w.transpose()).trace();
  const MatrixXd within = h(stay, stay);
  const MatrixXd target = h(stay, Eigen::all) * w.transpose();
  const MatrixXd solved = within.fullPivLu().solve(target);
  for (size_t i = 0; i < stay.size(); ++i)
    fit.col(stay[i]) = solved.row(static_cast<Index>(i)).transpose();
  return ((fit - w) * h * (fit - w).transpose()).trace();
}

double error_of(const MatrixXd& fit, const MatrixXd& w, const MatrixXd& h) {
  return ((fit - w) * h * (fit - w).transpose()).trace();
}

}  // namespace

TEST_CASE("each removal costs exactly what least squares loses, and no other block costs less") {
  struct Case {
    Index rows, cols;
    uint32_t block_cols;
  };
  // More columns than wait for one product (64), edge blocks, one row, blocks of everything, and
  // both sides of 32 columns, where each block gets a matrix of its own.
  for (const Case c :
       {Case{4, 90, 1}, Case{3, 14, 4}, Case{3, 90, 4}, Case{1, 9, 2}, Case{16, 5, 1},
        Case{2, 70, 66}, Case{3, 7, 7}, Case{5, 150, 32}, Case{5, 150, 33}}) {
    CAPTURE(c.cols);
    CAPTURE(c.block_cols);
    const MatrixXd w = random_matrix(c.rows, c.cols, 3), h = second_moments(c.cols, 5);
    const auto trace = obs_trace(w, start_of(h, c.block_cols), {});
    const size_t blocks = (static_cast<size_t>(c.cols) + c.block_cols - 1) / c.block_cols;
    REQUIRE(trace.size() == blocks);
    std::vector<bool> kept(static_cast<size_t>(c.cols), true);
    const auto without = [&](std::vector<bool> mask, size_t block) {
      for (size_t i = block * c.block_cols; i < std::min(mask.size(), (block + 1) * c.block_cols);
           ++i)
        mask[i] = false;
      return mask;
    };
    double before = 0;
    for (const Removal& removal : trace) {
      double cheapest = std::numeric_limits<double>::infinity();
      for (size_t b = 0; b < blocks; ++b) {
        if (kept[b * c.block_cols])
          cheapest = std::min(cheapest, least_error(w, h, without(kept, b)) - before);
      }
      kept = without(kept, removal.block_col);
      const double after = least_error(w, h, kept);
      // In f32; what is left over of the errors of all removals before.
      const double rounding = 1e-4 * after;
      CHECK(std::abs(removal.loss - (after - before)) < rounding);
      CHECK(std::abs(removal.loss - cheapest) < rounding);
      before = after;
    }
  }
}

TEST_CASE("pinned blocks stay, and groups lose no more than they may") {
  const MatrixXd w = random_matrix(2, 12, 1), h = second_moments(12, 2);
  RemovalRules rules;
  rules.pinned.assign(12, false);
  rules.pinned[5] = true;
  for (const Removal& removal : obs_trace(w, start_of(h, 1), rules)) CHECK(removal.block_col != 5);
  RemovalRules two_of_four;
  two_of_four.group = 4;
  two_of_four.removable = 2;
  std::vector<int> gone(3, 0);
  for (const Removal& removal : obs_trace(w, start_of(h, 1), two_of_four))
    ++gone[removal.block_col / 4];
  CHECK(gone == std::vector<int>{2, 2, 2});
}

TEST_CASE("inputs that follow from each other are traced in f64, to the same losses") {
  const Index cols = 80;
  MatrixXd h = second_moments(cols, 5);
  CHECK(start_of(h, 1).inverse.index() == 0);
  // Input 3 is input 2 but for a millionth of its power.
  h.row(3) = h.row(2);
  h.col(3) = h.col(2);
  h(3, 3) = h(2, 2) * (1 + 1e-6);
  const ObsStart start = start_of(h, 1);
  CHECK(start.inverse.index() == 1);
  const MatrixXd w = random_matrix(2, cols, 3);
  std::vector<bool> kept(static_cast<size_t>(cols), true);
  double sum = 0;
  for (const Removal& removal : obs_trace(w, start, {})) {
    kept[removal.block_col] = false;
    sum += removal.loss;
    CHECK(sum == doctest::Approx(least_error(w, h, kept)).epsilon(1e-6));
  }
}

TEST_CASE("of equal losses the lower index goes first, weights of any size are traced") {
  const MatrixXd h = MatrixXd::Identity(70, 70);
  MatrixXd w = MatrixXd::Zero(3, 70);
  w.rightCols(4).setConstant(1e30);  // their squares do not fit f32
  const auto trace = obs_trace(w, start_of(h, 1), {});
  REQUIRE(trace.size() == 70);
  for (size_t i = 0; i < trace.size(); ++i) {
    CHECK(trace[i].block_col == i);
    CHECK(trace[i].loss == doctest::Approx(i < 66 ? 0 : 3e60));
  }
}

TEST_CASE("a refit by the inverse is the refit by what is kept") {
  for (const Index cols : {12, 300}) {  // more than one step of a factorisation
    const MatrixXd w = random_matrix(4, cols, 7), h = second_moments(cols, 8);
    const MatrixXd p = inverse(h);
    std::vector<bool> kept(static_cast<size_t>(cols), true);
    for (size_t i = 0; i < kept.size(); ++i) kept[i] = i % 5 < 3;
    const auto by_kept = refit_rows(w, h, kept, false, 0);
    const auto by_dropped = refit_rows(w, h, kept, false, 0, &p);
    REQUIRE(by_kept);
    REQUIRE(by_dropped);
    CHECK((*by_kept - *by_dropped).cwiseAbs().maxCoeff() < 1e-9);
    CHECK(error_of(*by_dropped, w, h) == doctest::Approx(least_error(w, h, kept)).epsilon(1e-9));
  }
}

TEST_CASE("a refit solves the normal equations on its mask, own diagonals included") {
  const Index cols = 13;
  const MatrixXd w = random_matrix(4, cols, 7), h = second_moments(cols, 8);
  std::vector<bool> kept(cols, true);
  for (const size_t i : {0, 2, 3, 5, 6, 8, 12}) kept[i] = false;
  const auto plain = refit_rows(w, h, kept, false, 0);
  REQUIRE(plain);
  CHECK(error_of(*plain, w, h) == doctest::Approx(least_error(w, h, kept)).epsilon(1e-9));
  for (size_t i = 0; i < kept.size(); ++i) {
    if (!kept[i]) CHECK(plain->col(static_cast<Index>(i)).isZero(0));
  }
  // Rows 3 to 6: the diagonals of 3, 5 and 6 are kept though their columns are not.
  const auto own = refit_rows(w, h, kept, true, 3);
  REQUIRE(own);
  for (Index r = 0; r < 4; ++r) {
    std::vector<bool> with_own = kept;
    with_own[static_cast<size_t>(r + 3)] = true;
    CHECK(error_of(own->row(r), w.row(r), h) ==
          doctest::Approx(least_error(w.row(r), h, with_own)).epsilon(1e-9));
  }
}

TEST_CASE("a refit that drops nothing or everything, or cannot be solved") {
  const MatrixXd w = random_matrix(3, 6, 7), h = second_moments(6, 8);
  CHECK(*refit_rows(w, h, std::vector<bool>(6, true), false, 0) == w);
  CHECK(refit_rows(w, h, std::vector<bool>(6, false), false, 0)->isZero(0));
  CHECK_FALSE(refit_rows(w, -h, std::vector<bool>(6, true), false, 0));
}

}  // namespace espalier
