#include "lib/prune/choose/sensitivity.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace espalier {
namespace {

// Eight blocks of one row, scores 1 to 8 in another order.
BlockScores some_scores() {
  return {Fold{.parts = 1, .rows = 1, .cols = 8}, {1, 1}, false, {3, 1, 8, 2, 7, 4, 6, 5}};
}

std::vector<size_t> order_of(const BlockScores& scores) {
  std::vector<size_t> order(scores.scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, {}, [&](size_t i) { return scores.scores[i]; });
  return order;
}

double sum_of(const BlockScores& scores) {
  return std::accumulate(scores.scores.begin(), scores.scores.end(), 0.0);
}

}  // namespace

TEST_CASE("the sum of dropped scores leaves out kept blocks and what is not finite") {
  BlockScores scores = some_scores();
  BlockMask mask({1, 1}, scores.fold, true);
  CHECK(dropped_score(scores, mask) == 0);
  mask.kept[0] = mask.kept[1] = mask.kept[2] = false;
  scores.scores[2] = std::numeric_limits<float>::infinity();
  CHECK(dropped_score(scores, mask) == 4);
}

TEST_CASE("on a straight line scores are multiplied by its slope") {
  BlockScores scores = some_scores();
  const SensitivityPoint points[] = {{6, 3}, {21, 10.5}};
  scores_to_distances(points, scores);
  for (size_t i = 0; i < 8; ++i)
    CHECK(scores.scores[i] == doctest::Approx(some_scores().scores[i] / 2));
}

TEST_CASE("where a curve bends upwards later blocks cost more, and the order stays") {
  BlockScores scores = some_scores();
  const auto order = order_of(scores);
  const SensitivityPoint points[] = {{10, 1}, {36, 27}};
  scores_to_distances(points, scores);
  CHECK(order_of(scores) == order);
  CHECK(scores.scores[1] == doctest::Approx(0.1));  // the first: slope 1 / 10
  CHECK(scores.scores[2] == doctest::Approx(8));    // the last: slope 26 / 26
  CHECK(sum_of(scores) == doctest::Approx(27));
}

TEST_CASE("a point above the hull and one that lies still cost nothing") {
  BlockScores scores = some_scores();
  const auto order = order_of(scores);
  const SensitivityPoint points[] = {{10, 20}, {36, 0}};  // noise: the end is what counts
  scores_to_distances(points, scores);
  CHECK(order_of(scores) == order);
  for (const float score : scores.scores) CHECK(score < 1e-30F);
}

TEST_CASE("outputs that are no numbers make the layer the last to be pruned further") {
  BlockScores scores = some_scores();
  const auto order = order_of(scores);
  const SensitivityPoint points[] = {{10, 1}, {36, std::numeric_limits<double>::quiet_NaN()}};
  scores_to_distances(points, scores);
  CHECK(order_of(scores) == order);
  CHECK(scores.scores[1] == doctest::Approx(0.1));
  CHECK(scores.scores[2] > 1e5);
  BlockScores all = some_scores();
  const SensitivityPoint none[] = {{36, std::numeric_limits<double>::infinity()}};
  scores_to_distances(none, all);
  for (const float score : all.scores) CHECK(std::isfinite(score));
  BlockScores same = some_scores();
  scores_to_distances({}, same);
  CHECK(same.scores == some_scores().scores);
}

}  // namespace espalier
