#include "lib/runtime/memory_plan.h"

#include <map>
#include <queue>
#include <set>
#include <utility>

#include "lib/base/check.h"
#include "lib/base/checked_math.h"

namespace espalier {
namespace {

// Gaps below the end of the block: by place, and by size and place.
class Gaps {
 public:
  // Takes `size` bytes from the smallest gap that holds them, else from the end.
  size_t take(size_t size) {
    const auto fit = by_size_.lower_bound({size, 0});
    if (fit != by_size_.end()) {
      const auto [length, place] = *fit;
      erase(place, length);
      if (length > size) insert(place + size, length - size);
      return place;
    }
    // A gap that reaches the end grows.
    size_t place = end_;
    if (!by_place_.empty()) {
      const auto [last_place, length] = *by_place_.rbegin();
      if (last_place + length == end_) {
        erase(last_place, length);
        place = last_place;
      }
    }
    end_ = place + size;
    return place;
  }

  void give_back(size_t place, size_t size) {
    const auto next = by_place_.lower_bound(place);
    if (next != by_place_.end() && next->first == place + size) {
      size += next->second;
      erase(next->first, next->second);
    }
    const auto after = by_place_.lower_bound(place);
    if (after != by_place_.begin()) {
      const auto [previous, length] = *std::prev(after);
      if (previous + length == place) {
        erase(previous, length);
        place = previous;
        size += length;
      }
    }
    insert(place, size);
  }

  size_t end() const { return end_; }

 private:
  void insert(size_t place, size_t length) {
    by_place_.emplace(place, length);
    by_size_.emplace(length, place);
  }
  void erase(size_t place, size_t length) {
    by_place_.erase(place);
    by_size_.erase({length, place});
  }

  std::map<size_t, size_t> by_place_;
  std::set<std::pair<size_t, size_t>> by_size_;
  size_t end_ = 0;
};

}  // namespace

MemoryPlan plan_memory(std::span<const Lifetime> pieces) {
  MemoryPlan plan;
  Gaps gaps;
  // In use: by last step, then by number, so that the plan does not depend on addresses.
  using Used = std::pair<size_t, size_t>;
  std::priority_queue<Used, std::vector<Used>, std::greater<>> used;
  const auto size_of = [&](size_t i) {
    return round_up(std::max<size_t>(pieces[i].bytes, 1), kMemoryAlignment);
  };
  for (size_t i = 0; i < pieces.size(); ++i) {
    ESPALIER_CHECK(i == 0 || pieces[i - 1].first <= pieces[i].first);
    while (!used.empty() && used.top().first < pieces[i].first) {
      const size_t done = used.top().second;
      used.pop();
      gaps.give_back(plan.offsets[done], size_of(done));
    }
    plan.offsets.push_back(gaps.take(size_of(i)));
    used.emplace(pieces[i].last, i);
  }
  plan.bytes = gaps.end();
  return plan;
}

}  // namespace espalier
