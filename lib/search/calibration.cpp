#include "lib/search/calibration.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/calibrate/token_mask.h"

namespace espalier {

const Tensor& mask_of(const Feed& feed, const std::string& input) {
  const auto found = feed.find(input);
  if (found == feed.end()) {
    throw Error(
        Fault::kUsage,
        fmt::format("--mask-tokens {}: the inputs have no array of that name", printable(input)));
  }
  return found->second;
}

void CalibrationGaps::add(const CalibrationGaps& other) {
  for (const std::string& text : other.refused) {
    if (std::ranges::count(refused, text) == 0) refused.push_back(text);
  }
  not_finite += other.not_finite;
}

void warn_of(const CalibrationGaps& gaps) {
  for (const std::string& text : gaps.refused)
    warn(fmt::format("not calibrated: {} (--calib-memory)", text));
  if (gaps.not_finite != 0) {
    warn(fmt::format("{} samples that contain infinities or NaN were left out of the statistics",
                     gaps.not_finite));
  }
}

Statistics calibrate(const Model& model, const std::vector<Layer>& layers, const DataSet& data,
                     const std::vector<Feed>& feeds, const CollectOptions& options,
                     CalibrationGaps* gaps) {
  const Stage stage("calibrate");
  const auto pass = [&](ProductObserver& observer) {
    TokenMask masked(observer, model);
    const bool mask = !data.token_mask.empty();
    const auto look_at = [&](size_t feed) {
      if (mask && feed < feeds.size()) masked.set(mask_of(feeds[feed], data.token_mask));
    };
    Executor executor(model, {.threads = options.threads, .observer = mask ? &masked : &observer});
    Progress progress("calibrate", feeds.size());
    look_at(0);
    run_feeds(executor, model, data, feeds, [&](size_t feed, const Feed&) {
      progress.step();
      look_at(feed + 1);
    });
  };
  Collected collected = collect_statistics(model, layers, pass, options);
  const CalibrationGaps found{std::move(collected.refused), collected.not_finite};
  if (gaps != nullptr) {
    gaps->add(found);
  } else {
    warn_of(found);
  }
  note(fmt::format("{} feeds, {} passes", feeds.size(), collected.passes));
  return std::move(collected.statistics);
}

}  // namespace espalier
