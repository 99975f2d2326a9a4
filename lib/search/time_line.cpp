#include "lib/search/time_line.h"

#include <algorithm>

namespace espalier {

double TimeLine::packed(double sparsity) const {
  const auto after = std::ranges::find_if(
      measured, [&](const TimePoint& point) { return point.sparsity >= sparsity; });
  if (after == measured.end() || (after == measured.begin() && after->sparsity > sparsity))
    return fixed + per_density * (1 - sparsity);
  if (after->sparsity == sparsity) return after->ms;
  const TimePoint& before = *std::prev(after);
  const double share = (sparsity - before.sparsity) / (after->sparsity - before.sparsity);
  return before.ms + share * (after->ms - before.ms);
}

std::optional<double> TimeLine::break_even() const {
  if (packed(0) <= dense) return 0.0;
  if (packed(1) >= dense || per_density <= 0) return std::nullopt;
  return 1 - (dense - fixed) / per_density;
}

TimeLine fit_line(double dense, const std::vector<TimePoint>& packed) {
  double count = 0, x = 0, y = 0, xx = 0, xy = 0;
  for (const TimePoint& point : packed) {
    const double density = 1 - point.sparsity;
    ++count, x += density, y += point.ms, xx += density * density, xy += density * point.ms;
  }
  const double spread = count * xx - x * x;
  if (spread < 1e-12) return {dense, 0, x > 0 ? y / x : 0};
  TimeLine line{dense, 0, (count * xy - x * y) / spread};
  line.fixed = (y - line.per_density * x) / count;
  // Noise: time neither falls where more is kept nor begins below nothing.
  if (line.per_density < 0) return {dense, y / count, 0};
  if (line.fixed < 0) return {dense, 0, y / x};
  return line;
}

}  // namespace espalier
