#pragma once

#include <cstddef>
#include <future>
#include <utility>

namespace espalier {

/// Calls use(i, make(i)) for i below `count`, in order; make(i + 1) runs meanwhile, on a thread of
/// its own where there is one to be had.
template <typename Make, typename Use>
void for_each_made_ahead(size_t count, const Make& make, const Use& use) {
  std::future<decltype(make(size_t{}))> next;
  const auto make_next = [&](size_t i) {
    if (i < count) next = std::async(make, i);
  };
  make_next(0);
  for (size_t i = 0; i < count; ++i) {
    auto made = next.get();
    make_next(i + 1);
    use(i, std::move(made));
  }
}

}  // namespace espalier
