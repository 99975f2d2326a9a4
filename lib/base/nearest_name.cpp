#include "lib/base/nearest_name.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "lib/base/error.h"

namespace espalier {
namespace {

// Row by row of the table of distances between prefixes; a swap looks two rows back.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] =
          std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

}  // namespace

std::optional<std::string> nearest_name(std::string_view text, std::span<const std::string> names) {
  constexpr size_t kLongest = 64;  // nothing on a command line has a longer name
  if (text.empty() || text.size() > kLongest) return std::nullopt;
  std::optional<std::string> nearest;
  size_t best = std::max<size_t>(1, text.size() / 3) + 1;
  for (const std::string& name : names) {
    const size_t here = distance(text, name);
    if (here >= best || here >= name.size()) continue;
    best = here;
    nearest = name;
  }
  return nearest;
}

std::string did_you_mean(std::string_view text, std::span<const std::string> names) {
  const std::optional<std::string> name = nearest_name(text, names);
  return name ? fmt::format("; did you mean {}?", printable(*name)) : "";
}

}  // namespace espalier
