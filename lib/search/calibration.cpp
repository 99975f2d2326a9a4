#include "lib/search/calibration.h"

#include <fmt/format.h>

#include "lib/base/log.h"

namespace espalier {

Statistics calibrate(const Model& model, const std::vector<Layer>& layers, const DataSet& data,
                     const std::vector<Feed>& feeds, const CollectOptions& options) {
  const Stage stage("calibrate");
  const auto pass = [&](ProductObserver& observer) {
    Executor executor(model, {.threads = options.threads, .observer = &observer});
    Progress progress("calibrate", feeds.size());
    run_feeds(executor, model, data, feeds, [&](size_t, const Feed&) { progress.step(); });
  };
  Collected collected = collect_statistics(model, layers, pass, options);
  for (const std::string& text : collected.refused)
    warn(fmt::format("not calibrated: {} (--calib-memory)", text));
  if (collected.not_finite != 0) {
    warn(fmt::format("{} samples that contain infinities or NaN were left out of the statistics",
                     collected.not_finite));
  }
  note(fmt::format("{} feeds, {} passes", feeds.size(), collected.passes));
  return std::move(collected.statistics);
}

}  // namespace espalier
