#include "lib/prune/pack/magnitudes.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "lib/sparse/pack.h"

namespace espalier {

uint64_t Magnitudes::total() const {
  return std::accumulate(counts.begin(), counts.end(), uint64_t{0});
}

void add_magnitudes(const Weight& weight, Magnitudes& magnitudes) {
  const std::vector<float> values = to_f32(dense_of(weight));
  double sum = 0;
  size_t finite = 0;
  for (const float value : values) {
    if (!std::isfinite(value)) continue;
    sum += static_cast<double>(value) * value;
    ++finite;
  }
  const double rms = std::sqrt(sum / std::max<double>(1, static_cast<double>(finite)));
  std::array<float, Magnitudes::kLimits.size()> limits{};
  for (size_t i = 0; i < limits.size(); ++i)
    limits[i] = static_cast<float>(rms * Magnitudes::kLimits[i]);
  for (const float value : values) {
    const float size = std::isnan(value) ? INFINITY : std::abs(value);
    const auto group = std::ranges::lower_bound(limits, size) - limits.begin();
    ++magnitudes.counts[static_cast<size_t>(group)];
  }
}

}  // namespace espalier
