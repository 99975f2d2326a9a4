#include "lib/tensor/view.h"

#include <doctest/doctest.h>

#include "lib/base/error.h"

namespace espalier {
namespace {

TEST_CASE("extents are held, counted and compared") {
  Dims dims{2, 3, 4};
  CHECK(dims.rank() == 3);
  CHECK(dims.count() == 24);
  CHECK(dims.product(1, 3) == 12);
  CHECK(dims.product(2, 2) == 1);
  CHECK(dims == Dims(Shape{2, 3, 4}));
  CHECK_FALSE(dims == Dims{2, 3});
  CHECK_FALSE(dims == Dims{2, 3, 5});
  dims.push_back(0);
  CHECK(dims.count() == 0);
  CHECK(dims.shape() == Shape{2, 3, 4, 0});
  CHECK(Dims().count() == 1);
  // Extents past the rank are not compared.
  Dims shorter{2, 3};
  shorter[2] = 9;
  CHECK(shorter == Dims{2, 3});
}

TEST_CASE("more axes than can be run are refused") {
  CHECK_THROWS_AS(Dims(Shape(9, 1)), Error);
  Dims dims(Shape(8, 1));
  CHECK_THROWS_WITH_AS(dims.push_back(1), doctest::Contains("9 axes"), Error);
}

}  // namespace
}  // namespace espalier
