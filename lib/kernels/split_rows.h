#pragma once

#include <algorithm>
#include <functional>

#include "lib/base/thread_pool.h"
#include "lib/kernels/sparse/block_rows.h"

namespace espalier {

/// Multiply-adds below which waking another thread costs more than it saves (about 20 us of work).
inline constexpr size_t kWorthThreads = size_t{1} << 20;

/// How many items to cut `work` multiply-adds into: one per thread, or one where that is too
/// little.
inline size_t items_for(const ThreadPool& pool, size_t work) {
  return std::clamp<size_t>(work / (kWorthThreads / 2), 1, pool.threads());
}

/// First block row of item `item` of `items`: cuts rows into shares of about equal work. Whoever
/// computes a row sums it in the same order, so results do not depend on the cut.
inline size_t first_row_of(const BlockRows& w, size_t item, size_t items) {
  const size_t target = work_before(w, w.block_rows()) / items * item;
  if (item == items) return w.block_rows();
  size_t low = 0, high = w.block_rows();
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (work_before(w, middle) < target) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/// Calls task.run(item) for 0 .. items - 1. One reference is all that is captured, so that nothing
/// is allocated.
template <class Task>
void for_each_item(ThreadPool& pool, size_t items, const Task& task) {
  if (items == 1) return task.run(0);
  pool.for_each(items, [&task](size_t item) { task.run(item); });
}

}  // namespace espalier
