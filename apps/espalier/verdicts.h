#pragma once

#include "apps/espalier/run_checks.h"
#include "apps/espalier/weights.h"

namespace espalier {

/// All that a job's checks told.
struct Findings {
  Packing packing;
  RunChecks run;
  std::optional<ReadBack> read_back;
  std::optional<Comparison> read_back_run;
  std::optional<SpeedChecks> speed;
  std::optional<uint64_t> output_bytes;
  std::optional<MetricPair> metric, command_metric;

  /// Packed and decoded weights disagree, in memory or in the file.
  bool gap() const;
};

Verdict size_verdict(const PackJob& job, const Findings& findings);
Verdict accuracy_verdict(const PackJob& job, const Findings& findings);
Verdict speed_verdict(const PackJob& job, const Findings& findings);

/// What a reader of the report must know besides.
std::vector<std::string> closing_notes(const PackJob& job, const Findings& findings);

}  // namespace espalier
