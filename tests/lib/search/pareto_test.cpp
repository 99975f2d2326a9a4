#include "lib/search/pareto.h"

#include <doctest/doctest.h>

namespace espalier {
namespace {

SweepPoint point(double metric, double ms, uint64_t bytes) {
  SweepPoint p;
  p.metric = metric;
  p.median_ms = ms;
  p.bytes = bytes;
  return p;
}

std::vector<bool> marks(std::vector<SweepPoint> points, const std::string& metric) {
  mark_pareto(points, metric, 1.0);
  std::vector<bool> result;
  for (const SweepPoint& p : points) result.push_back(p.pareto);
  return result;
}

TEST_CASE("a point is marked where no other is as good in all and better in one") {
  CHECK(marks({point(0.9, 1, 100), point(0.8, 1, 100), point(0.8, 0.5, 100), point(0.7, 2, 50)},
              "top1") == std::vector<bool>{true, false, true, true});
  // Equal ones stay, both.
  CHECK(marks({point(0.9, 1, 100), point(0.9, 1, 100)}, "top1") == std::vector<bool>{true, true});
  // Of mse less is better.
  CHECK(marks({point(2, 1, 100), point(3, 1, 100)}, "mse") == std::vector<bool>{true, false});
}

TEST_CASE("what was not measured is not compared; NaN is worse than any number") {
  SweepPoint untimed = point(0.9, 0, 90);
  untimed.median_ms.reset();
  CHECK(marks({point(0.9, 1, 100), untimed}, "top1") == std::vector<bool>{false, true});
  CHECK(marks({point(NAN, 1, 100), point(0.1, 1, 100)}, "top1") == std::vector<bool>{false, true});
  SweepPoint a = point(0, 1, 100), b = point(0, 1, 100);
  a.output_error = 0.1, b.output_error = 0.2;
  CHECK(marks({a, b}, "") == std::vector<bool>{true, false});
}

}  // namespace
}  // namespace espalier
