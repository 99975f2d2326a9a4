#include "lib/search/expected_times.h"

#include <algorithm>
#include <numeric>

#include "lib/calibrate/sequential.h"

namespace espalier {
namespace {

// Multiply-adds of a thread per second, as measured on x86 with AVX2: traces and sums in f32,
// factorisations in f64.
constexpr double kTraces = 8e9, kFactorisations = 4e9;
// Of a run to a stage of layers in turn: the half of a model, and sums of the stage alone.
constexpr double kPartOfPass = 0.5;

double sum(const std::vector<double>& costs) {
  return std::accumulate(costs.begin(), costs.end(), 0.0);
}

}  // namespace

ExpectedTimes::ExpectedTimes(const Model& model, const PruneOptions& options, const PruneData& data,
                             size_t threads)
    : model_(model),
      options_(options),
      data_(data),
      threads_(static_cast<double>(threads)),
      score_(sum(scoring_costs(data.layers, options)) / (kTraces * threads_)) {}

// Each group is pruned to three sparsities by each half of the feeds, and run on some of the rest.
double ExpectedTimes::scan() const {
  if (options_.scope != "sensitivity" || data_.calib == nullptr) return 0;
  const auto groups = static_cast<double>(std::min<size_t>(64, data_.layers.size()));
  const double feeds = std::max(1.0, static_cast<double>(data_.calib->feeds.size()));
  return 6 * refit() + 6 * groups * data_.pass_seconds * std::min(1.0, 16 / feeds) +
         data_.pass_seconds;
}

double ExpectedTimes::refit() const {
  if (data_.statistics == nullptr || !options_.refit) return 0;
  return sum(refit_costs(data_.layers, options_.sparsity)) / (kFactorisations * threads_);
}

double ExpectedTimes::in_order() const {
  const auto stages = static_cast<double>(stages_of(model_.graph, data_.layers).size());
  return score_ + refit() + 2 * kPartOfPass * stages * data_.pass_seconds;
}

double ExpectedTimes::compare() const {
  if (data_.calib == nullptr || data_.calib->feeds.empty()) return 0;
  return 3 * data_.pass_seconds * static_cast<double>(data_.orders.apart.size()) /
         static_cast<double>(data_.calib->feeds.size());
}

double ExpectedTimes::weights() const {
  if (data_.statistics == nullptr || !options_.refit) return 0;
  if (options_.sequential) return refit() + in_order();
  if (data_.orders.apart.empty()) return refit();
  return 2 * refit() + compare() + (data_.orders.again ? 2 : 1) * in_order();
}

}  // namespace espalier
