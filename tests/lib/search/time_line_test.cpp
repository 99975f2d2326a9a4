#include "lib/search/time_line.h"

#include <doctest/doctest.h>

namespace espalier {
namespace {

using doctest::Approx;

TEST_CASE("a line goes through two points, and says where packed becomes faster") {
  const TimeLine line = fit_line(10, {{0.6, 9}, {0.9, 6}});
  CHECK(line.per_density == Approx(10));
  CHECK(line.fixed == Approx(5));
  CHECK(line.packed(0.8) == Approx(7));
  CHECK(line.speedup(0.8) == Approx(10.0 / 7));
  REQUIRE(line.break_even());
  CHECK(*line.break_even() == Approx(0.5));
  CHECK(line.packed(*line.break_even()) == Approx(line.dense));
  CHECK(line.worth());
}

TEST_CASE("more points than two give the line with the least squares") {
  // Distances to y = 1 + 4 x are +0.1, -0.2, +0.1 at densities 0, 0.5, 1: it stays the best line.
  const TimeLine line = fit_line(9, {{1, 1.1}, {0.5, 2.8}, {0, 5.1}});
  CHECK(line.per_density == Approx(4));
  CHECK(line.fixed == Approx(1));
}

TEST_CASE("between measured points these count, beyond them the line") {
  TimeLine line = fit_line(10, {{0.6, 5}, {0.8, 2}, {0.9, 1}});
  const double beyond = line.packed(0.5), last = line.packed(0.95);
  line.measured = {{0.6, 5}, {0.8, 2}, {0.9, 1}};
  CHECK(line.packed(0.6) == 5);
  CHECK(line.packed(0.8) == 2);
  CHECK(line.packed(0.9) == 1);
  CHECK(line.packed(0.7) == Approx(3.5));
  CHECK(line.packed(0.85) == Approx(1.5));
  CHECK(line.packed(0.5) == beyond);
  CHECK(line.packed(0.95) == last);
}

TEST_CASE("one point gives a line through the origin") {
  const TimeLine line = fit_line(4, {{0.75, 1}});
  CHECK(line.fixed == 0);
  CHECK(line.per_density == Approx(4));
  CHECK(fit_line(4, {{1, 1}}).per_density == 0);  // nothing is kept: no rate
}

TEST_CASE("noise makes no time fall where more is kept, nor begin below nothing") {
  const TimeLine falling = fit_line(3, {{0.5, 1}, {0.9, 2}});
  CHECK(falling.per_density == 0);
  CHECK(falling.fixed == Approx(1.5));
  CHECK(*falling.break_even() == 0.0);
  const TimeLine below = fit_line(3, {{0.5, 5}, {0.9, 0.2}});
  CHECK(below.fixed == 0);
  CHECK(below.packed(1) == 0);
}

TEST_CASE("packed that is never faster has no break-even and is not worth it") {
  const TimeLine line{1, 2, 3};
  CHECK_FALSE(line.break_even());
  CHECK_FALSE(line.worth());
}

}  // namespace
}  // namespace espalier
