#pragma once

#include <vector>

#include "lib/calibrate/collect.h"
#include "lib/verify/data.h"

namespace espalier {

/// Calibration inputs; none where a file of statistics serves.
struct CalibrationFeeds {
  DataSet data;
  std::vector<Feed> feeds;
};

/// The array that says which tokens of a feed are padding. Errors  Fault::kUsage: there is none.
const Tensor& mask_of(const Feed& feed, const std::string& input);

/// What statistics lack: of one run, or of several over parts of the inputs.
struct CalibrationGaps {
  std::vector<std::string> refused;  ///< Collected::refused
  uint64_t not_finite = 0;

  void add(const CalibrationGaps& other);
};
void warn_of(const CalibrationGaps& gaps);

/// Runs the feeds and gives the moments of what the layers were multiplied with. Warns of what was
/// refused or left out, or adds it to `gaps`.
/// Errors  Fault::kUnsupported: operators that the runtime lacks; those of the run.
Statistics calibrate(const Model& model, const std::vector<Layer>& layers, const DataSet& data,
                     const std::vector<Feed>& feeds, const CollectOptions& options,
                     CalibrationGaps* gaps = nullptr);

}  // namespace espalier
