#include "lib/runtime/memory_plan.h"

#include <algorithm>
#include <numeric>

#include "lib/base/checked_math.h"

namespace espalier {
namespace {

constexpr size_t kAlignment = 64;

struct Placed {
  size_t begin, end;
  Lifetime life;
};

// `placed` is sorted by begin.
size_t lowest_place(const std::vector<Placed>& placed, const Lifetime& life, size_t bytes) {
  size_t at = 0;
  for (const Placed& other : placed) {
    if (other.life.first > life.last || life.first > other.life.last) continue;
    if (at + bytes <= other.begin) break;
    at = std::max(at, other.end);
  }
  return at;
}

}  // namespace

MemoryPlan plan_memory(std::span<const Lifetime> lifetimes) {
  MemoryPlan plan{std::vector<size_t>(lifetimes.size()), 0};
  std::vector<size_t> order(lifetimes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(
      order, [&](size_t a, size_t b) { return lifetimes[a].bytes > lifetimes[b].bytes; });
  std::vector<Placed> placed;
  for (const size_t i : order) {
    const size_t bytes = round_up(lifetimes[i].bytes, kAlignment);
    const size_t at = lowest_place(placed, lifetimes[i], bytes);
    const Placed piece{at, at + bytes, lifetimes[i]};
    placed.insert(std::ranges::upper_bound(placed, at, {}, &Placed::begin), piece);
    plan.offsets[i] = at;
    plan.bytes = std::max(plan.bytes, piece.end);
  }
  return plan;
}

}  // namespace espalier
