#include "lib/search/pareto.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "lib/verify/metric.h"

namespace espalier {
namespace {

// What is to be small: error, time, bytes.
using Costs = std::array<std::optional<double>, 3>;

Costs costs_of(const SweepPoint& point, const std::string& metric, double dense) {
  std::optional<double> error = point.output_error;
  if (!metric.empty())
    error = point.metric ? std::optional(metric_drop(metric, dense, *point.metric)) : std::nullopt;
  if (error && std::isnan(*error)) error = INFINITY;  // worse than any number
  return {error, point.median_ms, static_cast<double>(point.bytes)};
}

bool beats(const Costs& a, const Costs& b) {
  bool better = false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!a[i] || !b[i]) continue;
    if (*a[i] > *b[i]) return false;
    better |= *a[i] < *b[i];
  }
  return better;
}

}  // namespace

void mark_pareto(std::vector<SweepPoint>& points, const std::string& metric, double dense_metric) {
  std::vector<Costs> costs;
  for (const SweepPoint& point : points) costs.push_back(costs_of(point, metric, dense_metric));
  for (size_t i = 0; i < points.size(); ++i) {
    points[i].pareto =
        std::ranges::none_of(costs, [&](const Costs& other) { return beats(other, costs[i]); });
  }
}

}  // namespace espalier
