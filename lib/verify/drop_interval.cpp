#include "lib/verify/drop_interval.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace espalier {
namespace {

// Drops of sets drawn with replacement, in rising order; NaN ones, of sets that lack a class, are
// left out.
std::vector<double> drawn_drops(const std::string& name, const SampleScorer& a,
                                const SampleScorer& b, size_t samples, size_t sets) {
  std::mt19937_64 random(0);  // its numbers are those of the standard: the same everywhere
  std::vector<double> drops;
  for (size_t set = 0; set < sets; ++set) {
    std::vector<uint32_t> times(samples, 0);
    for (size_t i = 0; i < samples; ++i) ++times[random() % samples];
    const double drop = metric_drop(name, a(times), b(times));
    if (!std::isnan(drop)) drops.push_back(drop);
  }
  std::ranges::sort(drops);
  return drops;
}

}  // namespace

MetricPair metric_with_interval(const LabelledMetric& metric, const OutputPair& outputs) {
  const auto& [name, labels] = metric;
  const SampleScorer a = sample_scorer(name, outputs.a, outputs.output, labels);
  const SampleScorer b = sample_scorer(name, outputs.b, outputs.output, labels);
  const size_t samples = labels.shape().empty() ? 1 : static_cast<size_t>(labels.shape()[0]);
  const std::vector<uint32_t> once(samples, 1);
  MetricPair result{name, a(once), b(once)};
  if (samples < 2) return result;
  constexpr size_t kMostSets = 1000, kFewestSets = 200, kMostValues = 100'000'000;
  const size_t sets = std::clamp(kMostValues / labels.count(), kFewestSets, kMostSets);
  const std::vector<double> drops = drawn_drops(name, a, b, samples, sets);
  if (drops.size() < sets / 2) return result;
  const auto at = [&](double share) {
    return drops[static_cast<size_t>(std::lround(share * static_cast<double>(drops.size() - 1)))];
  };
  result.drop_low = at(0.025);
  result.drop_high = at(0.975);
  return result;
}

}  // namespace espalier
