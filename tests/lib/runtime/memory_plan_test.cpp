#include "lib/runtime/memory_plan.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace espalier {
namespace {

bool overlap(size_t a, size_t a_length, size_t b, size_t b_length) {
  return a < b + b_length && b < a + a_length;
}

void check_apart(const std::vector<Lifetime>& pieces, const MemoryPlan& plan) {
  for (size_t i = 0; i < pieces.size(); ++i) {
    REQUIRE(plan.offsets[i] % kMemoryAlignment == 0);
    REQUIRE(plan.offsets[i] + pieces[i].bytes <= plan.bytes);
    for (size_t j = 0; j < i; ++j) {
      const bool together = pieces[i].first <= pieces[j].last && pieces[j].first <= pieces[i].last;
      const bool shared = overlap(plan.offsets[i], std::max<size_t>(pieces[i].bytes, 1),
                                  plan.offsets[j], std::max<size_t>(pieces[j].bytes, 1));
      REQUIRE(!(together && shared));
    }
  }
}

TEST_CASE("pieces in use at the same step lie apart") {
  std::mt19937 random(7);
  for (int round = 0; round < 20; ++round) {
    std::vector<Lifetime> pieces;
    for (size_t i = 0; i < 200; ++i) {
      const size_t first = i / 3;
      pieces.push_back({random() % 3000, first, first + random() % 12});
    }
    check_apart(pieces, plan_memory(pieces));
  }
}

TEST_CASE("a chain of equal pieces takes the room of two") {
  std::vector<Lifetime> pieces;
  for (size_t i = 0; i < 50; ++i) pieces.push_back({1000, i, i + 1});
  CHECK(plan_memory(pieces).bytes == 2 * 1024);
}

TEST_CASE("the last gap grows instead of a new piece behind it") {
  const std::vector<Lifetime> pieces{{64, 0, 0}, {128, 1, 1}, {256, 2, 2}};
  CHECK(plan_memory(pieces).bytes == 256);
}

TEST_CASE("no pieces, no memory; empty pieces have places of their own") {
  CHECK(plan_memory({}).bytes == 0);
  const std::vector<Lifetime> pieces{{0, 0, SIZE_MAX}, {0, 0, SIZE_MAX}};
  const MemoryPlan plan = plan_memory(pieces);
  CHECK(plan.offsets[0] != plan.offsets[1]);
}

}  // namespace
}  // namespace espalier
