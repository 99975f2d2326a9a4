#include "lib/prune/score/criterion.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <set>

#include "tests/lib/prune/prune_models.h"

using namespace espalier;
using namespace espalier::test;

namespace {

struct Case {
  Fold fold;
  BlockShape block;
  bool skip_diagonal;
};

std::vector<Case> cases() {
  std::vector<Case> result;
  for (const BlockShape block : {BlockShape{1, 1}, {16, 1}, {8, 4}, {5, 3}, {1, 4}, {100, 100}}) {
    result.push_back({{1, 1, 1}, block, false});
    result.push_back({{2, 33, 70}, block, false});
    result.push_back({{3, 24, 24}, block, true});
    result.push_back({{1, 17, 1300}, block, false});  // more than one tile of columns
    result.push_back({{1, 1100, 1100}, block, true});
  }
  return result;
}

std::vector<float> scores_of(const Criterion& criterion, const Tensor& weight, const Case& c,
                             size_t step) {
  const BlockMask grid(c.block, c.fold, true);
  std::vector<float> scores(grid.blocks(), -1);
  const ScoreContext context{{weight.data<float>().data(), c.fold}, c.block, c.skip_diagonal, 7};
  const size_t rows = grid.parts * grid.grid_rows();
  for (size_t first = 0; first < rows; first += step)
    criterion.score(context, first, std::min(first + step, rows), scores);
  return scores;
}

// The same matrices stored [inputs, outputs].
Tensor transposed(const Tensor& weight, const Fold& fold) {
  std::vector<float> values(fold.count());
  Fold other = fold;
  other.transposed = true;
  for (size_t p = 0; p < fold.parts; ++p) {
    for (size_t r = 0; r < fold.rows; ++r) {
      for (size_t c = 0; c < fold.cols; ++c)
        values[other.offset(p, r, c)] = weight.data<float>()[fold.offset(p, r, c)];
    }
  }
  return Tensor::of<float>(weight.shape(), values);
}

// By definition, one block at a time.
float by_definition(std::string_view name, const Tensor& w, const Case& c, size_t part, size_t br,
                    size_t bc) {
  double l1 = 0, squares = 0, most = 0;
  for (size_t r = br * c.block.rows; r < std::min<size_t>((br + 1) * c.block.rows, c.fold.rows);
       ++r) {
    for (size_t k = bc * c.block.cols; k < std::min<size_t>((bc + 1) * c.block.cols, c.fold.cols);
         ++k) {
      if (c.skip_diagonal && r == k) continue;
      const double v = std::fabs(w.data<float>()[c.fold.offset(part, r, k)]);
      l1 += v;
      squares += v * v;
      most = std::max(most, v);
    }
  }
  const double result = name == "l1" ? l1 : name == "l2" ? std::sqrt(squares) : most;
  return static_cast<float>(result);
}

}  // namespace

TEST_CASE("criteria have names, summaries and are found") {
  CHECK(criteria().size() == 8);
  for (const Criterion* criterion : criteria()) {
    CHECK(find_criterion(criterion->name) == criterion);
    CHECK(criterion->summary != "");
  }
  CHECK(find_criterion("l3") == nullptr);
}

TEST_CASE("l1, l2 and max are what their formulas say, edge blocks and skipped diagonals too") {
  for (const Case& c : cases()) {
    if (c.fold.count() > 100000) continue;
    const Tensor weight = random_tensor({static_cast<int64_t>(c.fold.count())}, 3);
    for (const char* name : {"l1", "l2", "max"}) {
      const std::vector<float> scores = scores_of(*find_criterion(name), weight, c, 1000000);
      const BlockMask grid(c.block, c.fold, true);
      for (size_t i = 0; i < scores.size(); ++i) {
        const size_t row = i / grid.grid_cols();
        const float want = by_definition(name, weight, c, row / grid.grid_rows(),
                                         row % grid.grid_rows(), i % grid.grid_cols());
        // Sums in another order: doubles differ by far less than half a float's last place twice.
        REQUIRE(scores[i] == doctest::Approx(want).epsilon(2e-7));
      }
    }
  }
}

TEST_CASE("scores do not depend on how rows are cut nor on how the weight is stored") {
  for (Case c : cases()) {
    const Tensor weight = random_tensor({static_cast<int64_t>(c.fold.count())}, 3);
    const Tensor other = transposed(weight, c.fold);
    for (const Criterion* criterion : criteria()) {
      if (criterion->needs_moments) continue;
      CAPTURE(criterion->name);
      const std::vector<float> whole = scores_of(*criterion, weight, c, 1000000);
      CHECK(scores_of(*criterion, weight, c, 3) == whole);
      Case turned = c;
      turned.fold.transposed = true;
      CHECK(scores_of(*criterion, other, turned, 1000000) == whole);
      CHECK(scores_of(*criterion, other, turned, 7) == whole);
    }
  }
}

TEST_CASE("NaN and infinity score infinity, tiny and huge weights keep their order") {
  const Fold fold{1, 1, 6};
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  const Tensor weight =
      Tensor::of<float>({6}, std::vector<float>{nan, -inf, 1e30F, 1e-40F, 0, -nan});
  for (const Criterion* criterion : criteria()) {
    if (criterion->needs_moments) continue;
    CAPTURE(criterion->name);
    const auto scores = scores_of(*criterion, weight, {fold, {1, 1}, false}, 1);
    CHECK(scores[0] == inf);
    CHECK(scores[1] == inf);
    CHECK(scores[5] == inf);
    if (criterion->name == "random") continue;
    CHECK(scores[2] == 1e30F);
    CHECK(scores[3] == 1e-40F);
    CHECK(scores[4] == 0);
  }
}

TEST_CASE("random depends on the seed and on nothing else") {
  const Case c{{1, 20, 20}, {1, 1}, false};
  const Criterion& random = *find_criterion("random");
  const auto scores = scores_of(random, random_tensor({400}, 1), c, 100);
  CHECK(scores == scores_of(random, random_tensor({400}, 2), c, 100));
  for (const float score : scores) CHECK((score > 0 && score < 1));
  CHECK(std::set<float>(scores.begin(), scores.end()).size() > 395);
}
