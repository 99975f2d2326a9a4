#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>

#include "lib/base/thread_pool.h"

namespace espalier {

/// Calls body(begin, end) for pieces of 0 .. count - 1 on the pool's threads; at once where the
/// work, count * cost (in element operations), is not worth threads. Allocates nothing.
template <typename Body>
void parallel(ThreadPool& pool, size_t count, size_t cost, const Body& body) {
  constexpr size_t kWorthThread = size_t{1} << 15;
  const size_t pieces =
      std::min({count, pool.threads(), count * std::max<size_t>(cost, 1) / kWorthThread});
  if (pieces <= 1) {
    if (count != 0) body(size_t{0}, count);
    return;
  }
  const auto piece = [&](size_t i) { body(count * i / pieces, count * (i + 1) / pieces); };
  pool.for_each(pieces, std::function<void(size_t)>(std::ref(piece)));
}

}  // namespace espalier
