#include "lib/prune/score/spd.h"

#include <doctest/doctest.h>

#include <array>
#include <cstdlib>

namespace espalier {
namespace {

using Eigen::Index;
using Eigen::MatrixXd;

MatrixXd positive(Index side) {
  std::srand(3);
  const MatrixXd x = MatrixXd::Random(side, 2 * side);
  return x * x.transpose() / static_cast<double>(side) + 0.01 * MatrixXd::Identity(side, side);
}

// Sides of one step, of just more, and of several; the last column in a step of its own.
constexpr std::array<Index, 6> kSides{1, 64, 65, 129, 193, 300};

}  // namespace

TEST_CASE("an inverse by sweeps undoes its matrix, and is the same on any threads") {
  for (const Index side : kSides) {
    CAPTURE(side);
    const MatrixXd a = positive(side);
    ThreadPool one(1), three(3);
    const auto inverse = spd_inverse(a, one);
    REQUIRE(inverse);
    CHECK((a * *inverse - MatrixXd::Identity(side, side)).cwiseAbs().maxCoeff() < 1e-10);
    CHECK(*inverse == *spd_inverse(a, three));
  }
}

TEST_CASE("a solution by steps of Cholesky's factorisation solves the system") {
  for (const Index side : kSides) {
    CAPTURE(side);
    const MatrixXd a = positive(side), b = MatrixXd::Random(side, 5);
    const auto solved = spd_solve(a, b);
    REQUIRE(solved);
    CHECK((a * *solved - b).cwiseAbs().maxCoeff() < 1e-10);
  }
}

TEST_CASE("a matrix that is not positive definite has neither, wherever that shows") {
  ThreadPool pool(1);
  for (const Index at : {0, 63, 64, 199}) {
    MatrixXd a = positive(200);
    a(at, at) = -1;
    CHECK_FALSE(spd_inverse(a, pool));
    CHECK_FALSE(spd_solve(a, MatrixXd::Identity(200, 1)));
  }
}

}  // namespace espalier
