#pragma once

#include "lib/base/log.h"
#include "lib/search/target.h"
#include "lib/search/value_types.h"

namespace espalier {

/// What is measured of a trial, and whether that is enough.
struct Aim {
  std::function<double(const Model& packed, CurvePoint& point)> measure;
  std::function<bool(double measured)> meets;
  /// Of two that meet, whether the new one takes the place of the best so far. Empty: it does.
  std::function<bool(const Model& packed, const CurvePoint& point)> better = {};
};

/// Prunes to one sparsity after another, measures, and keeps the best of what met the aim.
class Trials {
 public:
  /// `types`: whose level the values take, null: as the options say. All outlive it.
  Trials(const WeightsAt& weights_at, const Meter& meter, const ValueTypes* types,
         ThreadPool& pool);

  /// Whether that sparsity met the aim.
  bool attempt(double sparsity, size_t level, const Aim& aim);
  /// The best weights with the types of another level.
  Model best_packed(size_t level) const;

  double last() const { return last_; }  ///< that was measured
  bool any() const { return any_; }      ///< met its aim
  bool taken() const { return taken_; }  ///< the last attempt is the best so far
  const std::vector<CurvePoint>& points() const { return reached_.trials; }
  const CurvePoint& best() const { return reached_.best; }
  const PrunePlan& best_plan() const { return reached_.weights.plan; }
  Reached result() { return std::move(reached_); }

 private:
  const WeightsAt& weights_at_;
  const Meter& meter_;
  const ValueTypes* types_;
  ThreadPool& pool_;
  Progress progress_;
  double last_ = 0;
  bool any_ = false, taken_ = false;
  Reached reached_;
};

}  // namespace espalier
