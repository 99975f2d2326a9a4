#include "lib/prune/choose/sensitivity.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

namespace espalier {
namespace {

struct Segment {
  double until;  // sum of scores
  double slope;
};

double slope(const SensitivityPoint& a, const SensitivityPoint& b) {
  return (b.distance - a.distance) / (b.score - a.score);
}

// The lower hull of the points behind (0, 0), whose slopes rise and are not below zero.
std::vector<Segment> lower_hull(std::vector<SensitivityPoint> points) {
  std::ranges::sort(points, {}, &SensitivityPoint::score);
  std::vector<SensitivityPoint> hull{{0, 0}};
  for (const SensitivityPoint& point : points) {
    if (!(point.score > hull.back().score)) continue;
    while (hull.size() > 1 &&
           slope(hull[hull.size() - 2], point) <= slope(hull[hull.size() - 2], hull.back()))
      hull.pop_back();
    hull.push_back(point);
  }
  std::vector<Segment> segments;
  for (size_t i = 1; i < hull.size(); ++i)
    segments.push_back({hull[i].score, std::max(0.0, slope(hull[i - 1], hull[i]))});
  return segments;
}

}  // namespace

double dropped_score(const BlockScores& scores, const BlockMask& mask) {
  double sum = 0;
  for (size_t i = 0; i < scores.scores.size(); ++i) {
    if (!mask.kept[i] && std::isfinite(scores.scores[i])) sum += scores.scores[i];
  }
  return sum;
}

void scores_to_distances(std::span<const SensitivityPoint> points, BlockScores& scores) {
  std::vector<SensitivityPoint> finite;
  bool broken = false;
  for (const SensitivityPoint& point : points) {
    if (std::isfinite(point.distance)) finite.push_back(point);
    broken |= !std::isfinite(point.distance);
  }
  std::vector<Segment> segments = lower_hull(std::move(finite));
  if (segments.empty() && !broken) return;
  if (broken) {
    constexpr double kBroken = 1e6;
    const double steepest = segments.empty() ? 1 : std::max(segments.back().slope, 1e-12);
    segments.push_back({std::numeric_limits<double>::infinity(), kBroken * steepest});
  }
  segments.back().until = std::numeric_limits<double>::infinity();

  std::vector<size_t> order(scores.scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, {}, [&](size_t i) { return scores.scores[i]; });
  double sum = 0;
  float last = 0;
  size_t segment = 0;
  for (const size_t i : order) {
    float& score = scores.scores[i];
    if (!std::isfinite(score)) continue;
    sum += score;
    while (sum > segments[segment].until) ++segment;
    // Where the slope is zero the order within the layer still counts: hence the smallest step.
    const auto wanted = static_cast<float>(score * segments[segment].slope);
    const float next = std::nextafter(last, std::numeric_limits<float>::max());
    last = std::max(wanted, next);
    score = last;
  }
}

}  // namespace espalier
