#include "lib/search/halving.h"

#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <set>
#include <vector>

namespace espalier {
namespace {

constexpr double kStep = 1.0 / 256;

// Meets from `edge` on towards 1 (or towards 0); keeps what was tried.
struct Trials {
  double edge;
  bool upwards;
  std::vector<double> met, missed;

  bool operator()(double value) {
    const bool meets = upwards ? value >= edge : value <= edge;
    (meets ? met : missed).push_back(value);
    return meets;
  }
};

TEST_CASE("what is found was tried, meets, and is within one step of the edge") {
  std::mt19937 random(1);
  std::uniform_real_distribution<double> edges(0.001, 0.97);
  for (int i = 0; i < 200; ++i) {
    const bool upwards = i % 2 == 0;
    Trials trials{edges(random), upwards, {}, {}};
    CAPTURE(trials.edge);
    const double preferred = upwards ? 0 : 0.98, other = upwards ? 0.98 : 0;
    const auto found = nearest_that_meets(preferred, other, kStep, std::ref(trials));
    REQUIRE(found);
    CHECK(trials.met.back() == *found);
    CHECK(std::abs(*found - trials.edge) <= kStep);
    // Nothing is tried twice, and nothing beyond what is known.
    std::set<double> all(trials.met.begin(), trials.met.end());
    all.insert(trials.missed.begin(), trials.missed.end());
    CHECK(all.size() == trials.met.size() + trials.missed.size());
    for (const double met : trials.met)
      CHECK(std::abs(met - preferred) >= std::abs(*found - preferred));
    CHECK(all.size() <= 2 + 8);
  }
}

TEST_CASE("the preferred value is taken where it meets, without another try") {
  Trials trials{0, true, {}, {}};
  CHECK(nearest_that_meets(0, 0.98, kStep, std::ref(trials)) == 0.0);
  CHECK(trials.met.size() == 1);
}

TEST_CASE("nothing is found where not even the other end meets") {
  Trials trials{2, true, {}, {}};
  CHECK_FALSE(nearest_that_meets(0, 0.98, kStep, std::ref(trials)));
  CHECK(trials.missed == std::vector<double>{0, 0.98});
}

TEST_CASE("a condition that does not hold on one side alone still gives a value that met") {
  // Meets at a few lonely places: sizes of files need not fall with every step.
  std::vector<double> met;
  const auto found = nearest_that_meets(0, 1, kStep, [&](double value) {
    const bool meets = value == 1 || std::fmod(value * 64, 2.0) >= 1;
    if (meets) met.push_back(value);
    return meets;
  });
  REQUIRE(found);
  CHECK(met.back() == *found);
}

}  // namespace
}  // namespace espalier
