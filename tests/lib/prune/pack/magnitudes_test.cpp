#include "lib/prune/pack/magnitudes.h"

#include <doctest/doctest.h>

#include <limits>

#include "tests/lib/prune/prune_models.h"

using namespace espalier;

TEST_CASE("weights are counted by their size next to the root mean square") {
  // Root mean square of these: sqrt((9 + 1 + 1 + 1) / 12) = 1.
  const std::vector<float> values{3, 1, -1, 1, 0, -0.0F, 0, 0, 0, 0, 0, 0};
  Magnitudes found;
  add_magnitudes({from_f32(values, DType::kF32, {3, 4}), {}}, found);
  CHECK(found.counts == decltype(found.counts){8, 0, 0, 0, 3, 0, 1, 0});
  CHECK(found.total() == 12);
  add_magnitudes({from_f32(values, DType::kF16, {12}), {}}, found);
  CHECK(found.counts[0] == 16);
}

TEST_CASE("what is not finite is large, and does not hide the others") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Magnitudes found;
  add_magnitudes({from_f32(std::vector<float>{nan, INFINITY, 1, 1}, DType::kF32, {4}), {}}, found);
  CHECK(found.counts == decltype(found.counts){0, 0, 0, 0, 2, 0, 0, 2});
}
