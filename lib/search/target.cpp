#include "lib/search/target.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lib/base/check.h"
#include "lib/base/log.h"
#include "lib/prune/options/layer_rule.h"
#include "lib/prune/pack/pack_weights.h"
#include "lib/search/halving.h"

namespace espalier {
namespace {

constexpr double kMost = 0.98;  // what is left beyond it is no model
constexpr double kStep = 1.0 / 256;

// What is measured of a trial, whether that is enough, and how a number of it reads.
struct Aim {
  double preferred = 0, other = kMost;  // sparsities: where the search begins
  std::function<double(const Model& packed, CurvePoint& point)> measure;
  std::function<bool(double measured)> meets;
};

class Search {
 public:
  Search(const WeightsAt& weights_at, const Meter& meter, ThreadPool& pool)
      : weights_at_(weights_at), meter_(meter), pool_(pool), progress_("search", 10) {}

  bool attempt(double sparsity, const Aim& aim) {
    PrunedWeights weights = weights_at_(sparsity);
    const Model packed = pack_weights(weights.masked, weights.plan, pool_);
    CurvePoint& point = reached_.trials.emplace_back();
    point.sparsity = sparsity;
    last_ = aim.measure(packed, point);
    if (meter_.complete) meter_.complete(packed, point);
    const bool met = aim.meets(last_);
    if (met) {
      reached_.sparsity = sparsity;
      reached_.weights = std::move(weights);
      reached_.best = point;
    }
    progress_.step();
    return met;
  }

  /// Whether any sparsity met the aim: then result() is the one nearest to the preferred.
  bool run(const Aim& aim) {
    const auto found = nearest_that_meets(aim.preferred, aim.other, kStep,
                                          [&](double sparsity) { return attempt(sparsity, aim); });
    ESPALIER_CHECK(!found || *found == reached_.sparsity);
    return found.has_value();
  }

  double last() const { return last_; }
  Reached result() { return std::move(reached_); }

 private:
  const WeightsAt& weights_at_;
  const Meter& meter_;
  ThreadPool& pool_;
  Progress progress_;
  double last_ = 0;
  Reached reached_;
};

// Sizes and times, which fall where the sparsity rises.
Reached least_sparsity(Search& search, const Aim& aim, const std::string& asked,
                       const std::function<std::string(double)>& show) {
  if (!search.run(aim)) {
    throw Error(Fault::kUnsupported,
                fmt::format("{}: {:.0f} % sparsity gives {}: pruning these layers cannot go lower",
                            asked, 100 * kMost, show(search.last())));
  }
  return search.result();
}

Reached reach_bytes(Search& search, double most, const Meter& meter) {
  const auto show = [](double v) { return format_bytes(static_cast<uint64_t>(v)); };
  const Aim aim{.measure =
                    [&](const Model& packed, CurvePoint& point) {
                      point.bytes = meter.bytes(packed);
                      return static_cast<double>(*point.bytes);
                    },
                .meets = [&](double bytes) { return bytes <= most; }};
  return least_sparsity(search, aim, "--target-size " + show(most), show);
}

Reached reach_time(Search& search, double most, const Meter& meter) {
  const auto show = [](double v) { return format_number(v) + " ms"; };
  const Aim aim{.measure =
                    [&](const Model& packed, CurvePoint& point) {
                      point.ms = meter.milliseconds(packed);
                      return *point.ms;
                    },
                .meets = [&](double ms) { return ms <= most; }};
  return least_sparsity(search, aim, "--target-latency " + show(most), show);
}

Reached reach_drop(Search& search, const PruneTarget& target, const Meter& meter) {
  const MetricPair dense = meter.dense();
  const double allowed = target.share ? target.value * std::abs(dense.a) : target.value;
  const Aim aim{
      .preferred = kMost,
      .other = 0,
      .measure =
          [&](const Model& packed, CurvePoint& point) {
            point.metric = meter.metric(packed);
            return *point.metric;
          },
      // Of NaN: no.
      .meets = [&](double metric) { return metric_drop(dense.name, dense.a, metric) <= allowed; }};
  if (!search.run(aim)) {
    throw Error(
        Fault::kUnsupported,
        fmt::format("--max-drop {}: {} of the unpruned model is {} in the search and {} before it",
                    to_string(target), dense.name, format_number(search.last()),
                    format_number(dense.a)));
  }
  Reached reached = search.result();
  reached.dense = dense;
  return reached;
}

}  // namespace

Reached reach(const PruneTarget& target, const WeightsAt& weights_at, const Meter& meter,
              ThreadPool& pool) {
  const Stage stage("search");
  Search search(weights_at, meter, pool);
  switch (target.kind) {
    case PruneTarget::Kind::kSize:
      return reach_bytes(search, target.value, meter);
    case PruneTarget::Kind::kLatency:
      return reach_time(search, target.value, meter);
    case PruneTarget::Kind::kDrop:
      return reach_drop(search, target, meter);
  }
  ESPALIER_CHECK(false);
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
