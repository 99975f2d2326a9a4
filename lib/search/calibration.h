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

/// Runs the feeds and gives the moments of what the layers were multiplied with. Warns of what was
/// refused or left out.
/// Errors  Fault::kUnsupported: operators that the runtime lacks; those of the run.
Statistics calibrate(const Model& model, const std::vector<Layer>& layers, const DataSet& data,
                     const std::vector<Feed>& feeds, const CollectOptions& options);

}  // namespace espalier
