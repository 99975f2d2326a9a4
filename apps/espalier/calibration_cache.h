#pragma once

#include <memory>
#include <string>

#include "apps/espalier/keyed_files.h"
#include "lib/prune/choose/score_store.h"
#include "lib/prune/score/statistics.h"
#include "lib/search/calibration.h"

namespace espalier {

/// What --cache DIR keeps of one model and its calibration: statistics, scores and scans.
class CalibrationCache {
 public:
  /// `made_of`: all that statistics follow from.
  CalibrationCache(const std::string& folder, std::string made_of)
      : files_(folder), made_of_(std::move(made_of)) {}

  /// Of `part` of the inputs: as `collect` makes them, which adds to `gaps`, or as it made them for
  /// an earlier run.
  Statistics statistics(const std::string& part,
                        const std::function<Statistics(CalibrationGaps& gaps)>& collect,
                        CalibrationGaps& gaps) const;

  /// Refers to this.
  ScoreStore scores() const;

 private:
  KeyedFiles files_;
  std::string made_of_;
};

}  // namespace espalier
