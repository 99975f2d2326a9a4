#include "formats/nnef/write/dim.h"

#include <doctest/doctest.h>

#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

const Dim n = Dim::symbol("N"), t = Dim::symbol("T");

TEST_CASE("extents are polynomials over free dimensions") {
  CHECK((n + 1 - n).is(1));
  CHECK(((n + 2) * (n - 2)).spelled() == "N * N - 4");
  CHECK((Dim(2) * n + t - 3).spelled() == "T + 2 * N - 3");
  CHECK((Dim(0) - n).spelled() == "-1 * N");
  CHECK(Dim(-7).spelled() == "-7");
  CHECK(n * t == t * n);
  CHECK((n - n).is(0));
}

TEST_CASE("a quotient is exact, rounded or unknown") {
  CHECK(exact_quotient(Dim(12) * n * t, Dim(4) * n).value() == Dim(3) * t);
  CHECK_FALSE(exact_quotient(n + 1, Dim(2)).has_value());
  CHECK_FALSE(exact_quotient(n, t).has_value());
  CHECK_FALSE(exact_quotient(n, n + 1).has_value());
  CHECK(floor_quotient(Dim(7), 2).is(3));
  CHECK(floor_quotient(Dim(-7), 2).is(-4));
  CHECK(floor_quotient(Dim(4) * n, 2) == Dim(2) * n);
  const Dim unknown = floor_quotient(n, 2);
  CHECK_FALSE(unknown.spelled().has_value());
  CHECK_FALSE((unknown + 1).spelled().has_value());
  CHECK(unknown == floor_quotient(n, 2));
  CHECK(floor_quotient(unknown, 2) == floor_quotient(floor_quotient(n, 2), 2));
  CHECK_FALSE(unknown == floor_quotient(n + 1, 2));
  CHECK_FALSE(unknown == floor_quotient(n, 3));
  CHECK_FALSE(Dim::unknown() == Dim::unknown());
}

TEST_CASE("extents are equal, different, or it depends") {
  CHECK(equal(n + 1, Dim(1) + n) == true);
  CHECK(equal(Dim(3), Dim(4)) == false);
  CHECK(equal(n, Dim(-1)) == false);  // no extent is negative
  CHECK(equal(n * t + 2, Dim(1)) == false);
  CHECK_FALSE(equal(n, Dim(0)).has_value());
  CHECK_FALSE(equal(n, Dim(1)).has_value());
  CHECK_FALSE(equal(n, t).has_value());
}

TEST_CASE("an extent past 64 bits is an error") {
  const Dim big(int64_t{1} << 62);
  CHECK_THROWS_AS(big * big, Error);
  CHECK_THROWS_AS(big + big, Error);
}

}  // namespace
}  // namespace espalier::nnef
