#pragma once

#include <algorithm>
#include <cstddef>

#include "lib/base/thread_pool.h"

namespace espalier {

/// Multiply-adds below which waking another thread costs more than it saves (about 20 us of work).
inline constexpr size_t kWorthThreads = size_t{1} << 20;

/// How many items to cut `work` multiply-adds into: one per thread, or one where that is too
/// little.
inline size_t items_for(const ThreadPool& pool, size_t work) {
  return std::clamp<size_t>(work / (kWorthThreads / 2), 1, pool.threads());
}

/// Calls task.run(item) for 0 .. items - 1. One reference is all that is captured, so that nothing
/// is allocated.
template <class Task>
void for_each_item(ThreadPool& pool, size_t items, const Task& task) {
  if (items == 1) return task.run(0);
  pool.for_each(items, [&task](size_t item) { task.run(item); });
}

}  // namespace espalier
