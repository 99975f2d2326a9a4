#include "apps/espalier/candidates.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "apps/espalier/common_options.h"
#include "apps/espalier/metric_command.h"
#include "lib/base/check.h"
#include "lib/base/log.h"
#include "lib/prune/options/layer_rule.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr double kMost = 0.98;  // what is left beyond it is no model
constexpr double kStep = 1.0 / 256;

CheckInputs inputs_of(const PackJob& job, const CommonOptions& common) {
  PackJob unpruned = job;
  unpruned.packed = unpruned.before;  // whose operators are looked at
  return check_inputs(unpruned, common);
}

// A trial model, and its data files if it has any.
void remove_all_in(const fs::path& folder) {
  for (const auto& entry : fs::directory_iterator(folder)) fs::remove_all(entry.path());
}

class Search {
 public:
  Search(const WeightsAt& weights_at, ThreadPool& pool)
      : weights_at_(weights_at), pool_(pool), progress_("search", 10) {}

  // Tries a sparsity; `meets` measures into the point.
  template <typename Meets>
  bool attempt(double sparsity, const Meets& meets) {
    PrunedWeights weights = weights_at_(sparsity);
    const Model packed = pack_weights(weights.masked, weights.plan, pool_);
    CurvePoint& point = trials_.emplace_back();
    point.sparsity = sparsity;
    const bool met = meets(packed, point);
    progress_.step();
    if (met) best_ = {sparsity, std::move(weights), {}, {}};
    return met;
  }

  // Between a sparsity that meets the target and one that misses it.
  template <typename Meets>
  void narrow(double met, double missed, const Meets& meets) {
    while (std::abs(met - missed) > kStep) {
      const double middle = (met + missed) / 2;
      (attempt(middle, meets) ? met : missed) = middle;
    }
  }

  Reached result(std::string note) {
    ESPALIER_CHECK(best_.has_value());
    best_->trials = std::move(trials_);
    best_->note = std::move(note);
    return std::move(*best_);
  }

  const CurvePoint& last() const { return trials_.back(); }
  const CurvePoint& best() const {
    return *std::ranges::find(trials_, best_->sparsity, &CurvePoint::sparsity);
  }

 private:
  const WeightsAt& weights_at_;
  ThreadPool& pool_;
  Progress progress_;
  std::vector<CurvePoint> trials_;
  std::optional<Reached> best_;
};

// Sizes and times, which fall where the sparsity rises.
template <typename Measure, typename Show>
Reached least_sparsity(Search& search, const char* option, double most, const Measure& measure,
                       const Show& show) {
  const auto meets = [&](const Model& packed, CurvePoint& point) {
    return measure(packed, point) <= most;
  };
  if (!search.attempt(0, meets)) {
    if (!search.attempt(kMost, meets)) {
      throw Error(
          Fault::kUnsupported,
          fmt::format("{} {}: {:.0f} % sparsity gives {}: pruning these layers cannot go lower",
                      option, show(most), 100 * kMost, show(measure.of(search.last()))));
    }
    search.narrow(kMost, 0, meets);
  }
  const CurvePoint best = search.best();
  return search.result(fmt::format("{} {}: {:.1f} % sparsity gives {}", option, show(most),
                                   100 * best.sparsity, show(measure.of(best))));
}

struct MeasureBytes {
  const CandidateMeter& meter;
  double operator()(const Model& packed, CurvePoint& point) const {
    point.bytes = meter.bytes(packed);
    return of(point);
  }
  static double of(const CurvePoint& point) { return static_cast<double>(*point.bytes); }
};

struct MeasureTime {
  const CandidateMeter& meter;
  double operator()(const Model& packed, CurvePoint& point) const {
    point.ms = meter.milliseconds(packed);
    return of(point);
  }
  static double of(const CurvePoint& point) { return *point.ms; }
};

Reached largest_sparsity(Search& search, const PruneTarget& target, const CandidateMeter& meter) {
  const MetricPair& dense = meter.dense();
  const double allowed = target.share ? target.value * std::abs(dense.a) : target.value;
  const auto meets = [&](const Model& packed, CurvePoint& point) {
    point.metric = meter.metric(packed);
    return metric_drop(dense.name, dense.a, *point.metric) <= allowed;  // of NaN: no
  };
  if (!search.attempt(kMost, meets)) {
    if (!search.attempt(0, meets)) {
      throw Error(
          Fault::kUnsupported,
          fmt::format(
              "--max-drop {}: {} of the unpruned model is {} in the search and {} before it",
              to_string(target), dense.name, format_number(*search.last().metric),
              format_number(dense.a)));
    }
    search.narrow(0, kMost, meets);
  }
  const CurvePoint best = search.best();
  return search.result(fmt::format("--max-drop {}: {:.1f} % sparsity keeps {} at {:.6g} of {:.6g}",
                                   to_string(target), 100 * best.sparsity, printable(dense.name),
                                   *best.metric, dense.a));
}

}  // namespace

CandidateMeter::CandidateMeter(const PackJob& job, const CommonOptions& common,
                               const std::string& machine)
    : job_(job),
      options_{.threads = common.threads},
      inputs_(inputs_of(job, common)),
      labelled_(labelled_metric(job.data)),
      folder_(fs::temp_directory_path() / "espalier") {
  if (!machine.empty()) predictor_.emplace(job, inputs_, options_, machine);
}

uint64_t CandidateMeter::bytes(const Model& packed) const {
  const fs::path path = folder_.path() / job_.output.filename();
  write_model(packed, path, job_.write);
  const uint64_t size = size_on_disk(path);
  remove_all_in(folder_.path());
  return size;
}

double CandidateMeter::milliseconds(const Model& packed) const {
  if (!inputs_.not_run.empty())
    throw Error(Fault::kUnsupported, "no time can be measured: " + inputs_.not_run);
  if (predictor_) return predictor_->milliseconds(packed);
  return time_whole(job_.before, packed, job_.before, inputs_, options_).ms_packed;
}

bool CandidateMeter::has_metric() const {
  return labelled_.has_value() || !job_.data.metric_command.empty();
}

double CandidateMeter::metric(const Model& packed) const {
  if (labelled_) {
    if (!inputs_.not_run.empty())
      throw Error(Fault::kUnsupported, "no metric can be measured: " + inputs_.not_run);
    return labelled_metric_of(packed, job_.before, inputs_, *labelled_, options_);
  }
  if (!has_metric())
    throw Error(Fault::kUsage,
                "no metric is given: expected --eval with --labels, or --metric-cmd");
  const fs::path path = folder_.path() / job_.output.filename();
  write_model(packed, path, job_.write);
  const double value = run_metric_command(job_.data.metric_command, path);
  remove_all_in(folder_.path());
  return value;
}

const MetricPair& CandidateMeter::dense() const {
  if (!dense_) {
    const double value = labelled_ || !has_metric()
                             ? metric(job_.before)
                             : run_metric_command(job_.data.metric_command, job_.input);
    dense_ = MetricPair{labelled_ ? labelled_->name : "metric-cmd", value, value};
  }
  return *dense_;
}

Reached reach(const PruneTarget& target, const WeightsAt& weights_at, const CandidateMeter& meter,
              ThreadPool& pool) {
  const Stage stage("search");
  Search search(weights_at, pool);
  switch (target.kind) {
    case PruneTarget::Kind::kSize:
      return least_sparsity(search, "--target-size", target.value, MeasureBytes{meter},
                            [](double v) { return format_bytes(static_cast<uint64_t>(v)); });
    case PruneTarget::Kind::kLatency:
      return least_sparsity(search, "--target-latency", target.value, MeasureTime{meter},
                            [](double v) { return format_number(v) + " ms"; });
    case PruneTarget::Kind::kDrop:
      return largest_sparsity(search, target, meter);
  }
  ESPALIER_CHECK(false);
}

std::vector<CurvePoint> curve(const std::vector<double>& levels, const WeightsAt& weights_at,
                              const Model& model, const PruneOptions& options,
                              const CandidateMeter& meter, ThreadPool& pool) {
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
    point.magnitude = meter.metric(pruned_by_magnitude(model, options, sparsity, pool));
    progress.step();
  }
  return points;
}

Model pruned_by_magnitude(const Model& model, PruneOptions options, double sparsity,
                          ThreadPool& pool) {
  options.method = "l2";
  options.scope = "layer";
  options.refit = false;
  options.sequential = false;
  options.sparsity = sparsity;
  for (LayerRule& rule : options.rules) rule.options.method.reset();
  return apply_plan(model, make_plan(model, options, pool), pool);
}

}  // namespace espalier
