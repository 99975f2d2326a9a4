#include "lib/search/target.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lib/base/check.h"
#include "lib/base/log.h"
#include "lib/prune/pack/pack_weights.h"
#include "lib/search/drop_search.h"
#include "lib/search/halving.h"
#include "lib/search/trials.h"

namespace espalier {
namespace {

constexpr double kMost = 0.98;  // what is left beyond it is no model
constexpr double kStep = 1.0 / 256;

// Sizes and times, which fall where the sparsity rises.
Reached least_sparsity(Trials& trials, const Aim& aim, const std::string& asked,
                       const std::function<std::string(double)>& show) {
  const auto found = nearest_that_meets(
      0, kMost, kStep, [&](double sparsity) { return trials.attempt(sparsity, 0, aim); });
  if (!found) {
    throw Error(Fault::kUnsupported,
                fmt::format("{}: {:.0f} % sparsity gives {}: pruning these layers cannot go lower",
                            asked, 100 * kMost, show(trials.last())));
  }
  Reached reached = trials.result();
  ESPALIER_CHECK(*found == reached.sparsity);
  return reached;
}

Reached reach_bytes(Trials& trials, double most, const Meter& meter) {
  const auto show = [](double v) { return format_bytes(static_cast<uint64_t>(v)); };
  const Aim aim{.measure =
                    [&](const Model& packed, CurvePoint& point) {
                      point.bytes = meter.bytes(packed);
                      return static_cast<double>(*point.bytes);
                    },
                .meets = [&](double bytes) { return bytes <= most; }};
  return least_sparsity(trials, aim, "--target-size " + show(most), show);
}

Reached reach_time(Trials& trials, double most, const Meter& meter) {
  const auto show = [](double v) { return format_number(v) + " ms"; };
  const Aim aim{.measure =
                    [&](const Model& packed, CurvePoint& point) {
                      point.ms = meter.milliseconds(packed);
                      return *point.ms;
                    },
                .meets = [&](double ms) { return ms <= most; }};
  return least_sparsity(trials, aim, "--target-latency " + show(most), show);
}

}  // namespace

Reached reach(const PruneOptions& options, const WeightsAt& weights_at, const Meter& meter,
              const ValueTypes* types, ThreadPool& pool) {
  const Stage stage("search");
  const PruneTarget& target = *options.target;
  if (target.kind == PruneTarget::Kind::kDrop)
    return reach_drop(weights_at, options, meter, types, pool);
  Trials trials(weights_at, meter, nullptr, pool);
  return target.kind == PruneTarget::Kind::kSize ? reach_bytes(trials, target.value, meter)
                                                 : reach_time(trials, target.value, meter);
}

std::vector<CurvePoint> curve(const std::vector<double>& levels, const WeightsAt& weights_at,
                              const Model& model, const std::vector<Layer>& layers,
                              const PruneOptions& options, const Meter& meter, ThreadPool& pool) {
  const Stage stage("curve");
  Progress progress("curve", levels.size());
  std::vector<CurvePoint> points;
  for (const double sparsity : levels) {
    const PrunedWeights weights = weights_at(sparsity);
    const Model packed = pack_weights(weights.masked, weights.plan, pool);
    CurvePoint& point = points.emplace_back();
    point.sparsity = sparsity;
    point.metric = meter.metric(packed);
    point.bytes = meter.bytes(packed);
    if (meter.complete) meter.complete(packed, point);
    point.magnitude = meter.metric(pruned_by_magnitude(model, layers, options, sparsity, pool));
    progress.step();
  }
  return points;
}

}  // namespace espalier
