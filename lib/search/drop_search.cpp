#include "lib/search/drop_search.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "lib/ir/named_weights.h"
#include "lib/prune/options/layer_rule.h"
#include "lib/prune/pack/pack_weights.h"
#include "lib/search/halving.h"
#include "lib/verify/drop_limit.h"

namespace espalier {
namespace {

// What is left beyond the first is no model.
constexpr std::array kGrid{0.98, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.35, 0.2, 0.0};
constexpr double kStep = 1.0 / 256;
// Shares of the metric for which the report says what they would give.
constexpr std::array kDrops{0.005, 0.01, 0.02, 0.05};

double bytes_of_all(const Model& packed) {
  double bytes = 0;
  for (const auto& [name, weight] : named_weights(packed))
    bytes += static_cast<double>(weight_bytes(*weight));
  return bytes;
}

class DropSearch {
 public:
  DropSearch(const WeightsAt& weights_at, const PruneOptions& options, const Meter& meter,
             const ValueTypes* types, ThreadPool& pool)
      : trials_(weights_at, meter, types, pool),
        target_(*options.target),
        confident_(options.confident),
        meter_(meter),
        types_(types),
        pool_(pool),
        dense_(meter.dense()) {
    const double allowed = allowed_drop({target_.value, target_.share, ""}, dense_.a);
    aim_.measure = [this](const Model& packed, CurvePoint& point) { return drop(packed, point); };
    aim_.meets = [allowed](double drop) { return drop <= allowed; };  // of NaN: no
    aim_.better = [this](const Model& packed, const CurvePoint& point) {
      return better(packed, point);
    };
  }

  // Level after level of types, then the trials that say what other drops would give.
  Reached run() {
    const size_t levels = types_ == nullptr ? 1 : types_->levels();
    for (level_ = 0; level_ < levels; ++level_) {
      if (trials_.any()) {
        try_smaller();
      } else if (level_ + 1 == levels || attempt(0)) {
        largest(0);
      }
    }
    if (!trials_.any()) {
      throw Error(
          Fault::kUnsupported,
          fmt::format("--max-drop {}{}: {} of the unpruned model is {} in the search and "
                      "{} before it",
                      to_string(target_), confident_ ? " --confident" : "", dense_.name,
                      format_number(*trials_.points().back().metric), format_number(dense_.a)));
    }
    level_ = best_level_;
    down_to_least_drop();
    Reached reached = trials_.result();
    reached.dense = dense_;
    if (meter_.judged && !reached.best.drop_high) add_interval(reached);
    for (const double share : kDrops) {
      if (const auto point = best_within(share * std::abs(dense_.a), reached.trials))
        reached.at_drops.emplace_back(share, *point);
    }
    return reached;
  }

 private:
  void add_interval(Reached& reached) const {
    const MetricPair pair =
        meter_.judged(pack_weights(reached.weights.masked, reached.weights.plan, pool_));
    reached.best.drop_low = pair.drop_low;
    reached.best.drop_high = pair.drop_high;
  }

  double drop(const Model& packed, CurvePoint& point) const {
    if (!confident_) {
      point.metric = meter_.metric(packed);
      return metric_drop(dense_.name, dense_.a, *point.metric);
    }
    const MetricPair pair = meter_.judged ? meter_.judged(packed) : MetricPair{};
    if (!pair.drop_high) {
      throw Error(Fault::kUnsupported,
                  "--confident judges by the interval of the drop, which requires a metric of "
                  "--labels and two samples or more");
    }
    point.metric = pair.b;
    point.drop_low = pair.drop_low;
    point.drop_high = pair.drop_high;
    return *pair.drop_high;
  }

  // With types to choose, the smaller one; else the larger sparsity.
  bool better(const Model& packed, const CurvePoint& point) {
    if (types_ == nullptr) return point.sparsity > trials_.best().sparsity;
    return bytes_of_all(packed) < best_bytes_;
  }

  bool attempt(double sparsity) {
    const bool met = trials_.attempt(sparsity, level_, aim_);
    if (trials_.taken() && types_ != nullptr) {
      best_bytes_ = bytes_of_all(trials_.best_packed(level_));
      best_level_ = level_;
    }
    return met;
  }

  // The largest sparsity above `met`, which is known to meet or is 0, that meets.
  void largest(double met) {
    double missed = 1;
    for (const double sparsity : kGrid) {
      const bool known = sparsity <= met && met > 0;
      if (known || attempt(sparsity)) {
        const double from = known ? met : sparsity;
        if (missed < 1) halved(missed, from, kStep, [this](double s) { return attempt(s); });
        return;
      }
      missed = sparsity;
    }
  }

  // Types that take more bytes are smaller from some sparsity on: if they keep the drop there, on
  // from there.
  void try_smaller() {
    const Model packed = trials_.best_packed(level_);
    double pruned = 0;
    for (const LayerPlan& layer : trials_.best_plan().layers) {
      if (layer.layer.left_out.empty())
        pruned += static_cast<double>(weight_bytes(weight_of(packed, layer.layer)));
    }
    const double others = bytes_of_all(packed) - pruned, kept = 1 - trials_.best().sparsity;
    if (others >= best_bytes_ || pruned <= 0) return;
    const double sparsity = 1 - kept * (best_bytes_ - others) / pruned + kStep;
    if (sparsity < kGrid.front() && attempt(sparsity)) largest(sparsity);
  }

  void down_to_least_drop() {
    const double least = kDrops.front() * std::abs(dense_.a);
    for (const double sparsity : kGrid) {
      if (best_within(least, trials_.points())) return;
      if (sparsity < trials_.best().sparsity && !tried(sparsity)) attempt(sparsity);
    }
  }

  bool tried(double sparsity) const {
    return std::ranges::any_of(trials_.points(), [&](const CurvePoint& point) {
      return point.sparsity == sparsity && point.values == trials_.best().values;
    });
  }

  // Of the points that lost no more, the one with the fewest bytes, of those the sparsest.
  std::optional<CurvePoint> best_within(double allowed,
                                        const std::vector<CurvePoint>& points) const {
    const CurvePoint* best = nullptr;
    const auto bytes = [](const CurvePoint& point) {
      return point.bytes.value_or(std::numeric_limits<uint64_t>::max());
    };
    for (const CurvePoint& point : points) {
      if (!(metric_drop(dense_.name, dense_.a, *point.metric) <= allowed)) continue;
      if (best == nullptr || bytes(point) < bytes(*best) ||
          (bytes(point) == bytes(*best) && point.sparsity > best->sparsity))
        best = &point;
    }
    return best == nullptr ? std::nullopt : std::optional(*best);
  }

  Trials trials_;
  const PruneTarget& target_;
  bool confident_;
  const Meter& meter_;
  const ValueTypes* types_;
  ThreadPool& pool_;
  MetricPair dense_;
  Aim aim_;
  size_t level_ = 0, best_level_ = 0;
  double best_bytes_ = 0;
};

}  // namespace

Reached reach_drop(const WeightsAt& weights_at, const PruneOptions& options, const Meter& meter,
                   const ValueTypes* types, ThreadPool& pool) {
  return DropSearch(weights_at, options, meter, types, pool).run();
}

}  // namespace espalier
