#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>
#include <vector>

namespace espalier {

/// The value at `share` of the way through values in rising order, of which there is one at least: 0
/// the least, 0.5 the median, 1 the largest. Of two that are as near, the larger.
inline double quantile_of_rising(std::span<const double> rising, double share) {
  return rising[static_cast<size_t>(std::lround(share * static_cast<double>(rising.size() - 1)))];
}

/// The same of values in any order.
inline double quantile(std::vector<double> values, double share) {
  std::ranges::sort(values);
  return quantile_of_rising(values, share);
}

inline double median(std::vector<double> values) { return quantile(std::move(values), 0.5); }

}  // namespace espalier
