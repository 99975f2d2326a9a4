#pragma once

#include "lib/base/log.h"
#include "lib/search/pruned_weights.h"

namespace espalier {

/// About how long the stages of pruning take, for the time left that a bar shows: right to a factor
/// of two, by multiply-adds and by how long calibration took (PruneData::pass_seconds).
class ExpectedTimes {
 public:
  /// All outlive it.
  ExpectedTimes(const Model& model, const PruneOptions& options, const PruneData& data,
                size_t threads);

  double score() const { return score_; }
  double scan() const;   ///< scan_sensitivity; 0 with other scopes
  double refit() const;  ///< of all layers, once
  /// prune_in_order, once.
  double in_order() const;
  /// Outputs of three models on the feeds apart.
  double compare() const;
  /// weights_of_plan.
  double weights() const;

 private:
  const Model& model_;
  const PruneOptions& options_;
  const PruneData& data_;
  double threads_, score_;
};

}  // namespace espalier
