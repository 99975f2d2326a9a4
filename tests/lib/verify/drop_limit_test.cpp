#include "lib/verify/drop_limit.h"

#include <doctest/doctest.h>

#include <cmath>

#include "lib/base/error.h"

using namespace espalier;

TEST_CASE("a limit is in the metric's unit or a share of what it was") {
  CHECK(allowed_drop({0.01, true, "1%"}, -20) == doctest::Approx(0.2));
  CHECK(allowed_drop({0.3, false, "0.3"}, 20) == 0.3);
  CHECK(within({0.01, true, "1%"}, {"top1", 0.9, 0.892}));
  CHECK_FALSE(within({0.01, true, "1%"}, {"top1", 0.9, 0.89}));
  CHECK(within({0.01, true, "1%"}, {"top1", 0.9, 0.95}));
  CHECK_FALSE(within({0.1, false, "0.1"}, {"mse", 1, 1.2}));  // better where it is lower
  CHECK_FALSE(within({0.1, false, "0.1"}, {"top1", 0.9, std::nan("")}));
}

TEST_CASE("a bare limit of half the metric and more is taken for a forgotten %") {
  const auto check = [](double value, bool share, const char* metric, double before) {
    check_bare_drop({value, share, "1"}, metric, before, "--max-drop");
  };
  CHECK_THROWS_WITH_AS(check(1, false, "top1", 0.98), doctest::Contains("did you mean 1%?"), Error);
  CHECK_THROWS_AS(check(0.49, false, "top1", 0.98), Error);
  CHECK_THROWS_AS(check(1, false, "snr", -1.5), Error);
  CHECK_NOTHROW(check(0.48, false, "top1", 0.98));
  CHECK_NOTHROW(check(1, true, "top1", 0.98));
  CHECK_NOTHROW(check(1, false, "snr", 14));
  CHECK_NOTHROW(check(1e-4, false, "mse", 1e-12));
  CHECK_NOTHROW(check(0, false, "top1", 0));
}
