#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "lib/verify/drop_limit.h"
#include "lib/verify/packing.h"
#include "lib/verify/run_checks.h"
#include "lib/verify/speed.h"

namespace espalier {

/// All that was found out about packed models and the file that was written of them.
struct Findings {
  Packing packing;
  RunChecks run;
  std::optional<ReadBack> read_back;
  std::optional<Comparison> read_back_run;
  std::string
      file_not_run;  ///< why the runtime cannot run the file that it reads back; "" = it can
  std::optional<SpeedChecks> speed;
  std::optional<uint64_t> output_bytes;
  std::optional<MetricPair> metric, command_metric;
  std::optional<DropLimit> limit;  ///< what the first of these two may lose; nothing: as tolerated
  bool verified = false;  ///< packing was looked at, and models were run unless run.not_run
};

/// The first place where packed and decoded weights disagree: a fault of the program, never what
/// pruning cost.
enum class Gap { kNone, kPacking, kOutputs, kReadBack, kReadBackOutputs };
Gap gap_of(const Findings& findings);

/// By the metrics, where there are any; by one that may lose so much, by that alone. Without one only a model whose weights are those of the
/// input (not `pruned`) and that was run is known to be as accurate; nothing otherwise.
std::optional<bool> accuracy_kept(const Findings& findings, bool pruned);
/// Whether the written file is smaller; nothing where none was written or `before` is not known.
std::optional<bool> smaller(const Findings& findings, uint64_t before);
/// Whether packed runs faster than dense; nothing where it was not measured.
std::optional<bool> faster(const Findings& findings);

}  // namespace espalier
