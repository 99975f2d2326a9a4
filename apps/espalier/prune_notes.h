#pragma once

#include <string>
#include <vector>

#include "apps/espalier/prune_settings.h"
#include "lib/verify/evaluation.h"

namespace espalier {

/// What the report of prune says besides its tables: what a target led to, which data chose and
/// which judged, what other drops would have given, which methods, order and types were taken.
/// `calib_feeds`: that blocks were chosen by.
std::vector<std::string> prune_notes(const PruneSettings& settings, const PruneResult& result,
                                     size_t calib_feeds, const Evaluation& evaluation);

/// Warns where --max-drop allows less than what chance makes of the samples.
void warn_of_noise(const PruneSettings& settings, const PruneResult& result);

}  // namespace espalier
