#include "lib/calibrate/kept_inputs.h"

#include <algorithm>

namespace espalier {
namespace {

size_t bytes_of_feed(const Feed& feed) {
  size_t bytes = 0;
  for (const auto& [name, tensor] : feed) bytes += tensor.byte_size();
  return bytes;
}

bool holds_texts(const Feed& feed) {
  return std::ranges::any_of(feed,
                             [](const auto& one) { return one.second.dtype() == DType::kString; });
}

bool same_inputs(const Feed& a, const Feed& b) {
  return std::ranges::equal(a, b, [](const auto& x, const auto& y) { return x.first == y.first; });
}

}  // namespace

std::vector<Feed> some_feeds(const std::vector<Feed>& feeds, size_t count, bool stream) {
  std::vector<Feed> some;
  for (size_t i = 0; i < count; ++i) some.push_back(feeds[stream ? i : i * feeds.size() / count]);
  return some;
}

KeptInputs kept_inputs(KeptInputs all, size_t budget) {
  if (std::ranges::any_of(all.feeds, holds_texts)) all.feeds.clear();
  const auto fits = [&](const std::vector<Feed>& feeds) {
    size_t bytes = 0;
    for (const Feed& feed : feeds) bytes += bytes_of_feed(feed);
    return bytes <= budget;
  };
  if (fits(all.feeds)) return all;
  const bool stream = !all.states.empty();
  size_t fitting = 0, missing = all.feeds.size();  // counts
  while (missing - fitting > 1) {
    const size_t middle = (fitting + missing) / 2;
    (fits(some_feeds(all.feeds, middle, stream)) ? fitting : missing) = middle;
  }
  all.feeds = some_feeds(all.feeds, fitting, stream);
  return all;
}

KeptInputs merged(const KeptInputs& a, const KeptInputs& b, size_t budget) {
  KeptInputs both = a;
  both.of += b.of;
  const bool alike = a.states.empty() && b.states.empty() && a.token_mask == b.token_mask &&
                     (a.feeds.empty() || b.feeds.empty() || same_inputs(a.feeds[0], b.feeds[0]));
  if (!alike) {
    both.feeds.clear();
    return both;
  }
  both.feeds.insert(both.feeds.end(), b.feeds.begin(), b.feeds.end());
  return kept_inputs(std::move(both), budget);
}

}  // namespace espalier
