#include "lib/verify/findings.h"

namespace espalier {

Gap gap_of(const Findings& findings) {
  if (!findings.packing.wrong.empty()) return Gap::kPacking;
  if (findings.read_back && !findings.read_back->wrong.empty()) return Gap::kReadBack;
  if (findings.read_back_run && !equal_to_rounding(*findings.read_back_run))
    return Gap::kReadBackOutputs;
  if (findings.run.not_run.empty() && !equal_to_rounding(findings.run)) return Gap::kOutputs;
  return Gap::kNone;
}

std::optional<bool> accuracy_kept(const Findings& findings, bool pruned) {
  const auto& first = findings.metric ? findings.metric : findings.command_metric;
  if (findings.limit && first) return within(*findings.limit, *first);
  if (findings.metric || findings.command_metric) {
    return (!findings.metric || accuracy_kept(*findings.metric)) &&
           (!findings.command_metric || accuracy_kept(*findings.command_metric));
  }
  if (pruned || !findings.run.not_run.empty()) return std::nullopt;
  return true;
}

std::optional<bool> smaller(const Findings& findings, uint64_t before) {
  if (gap_of(findings) != Gap::kNone || !findings.output_bytes || before == 0) return std::nullopt;
  return *findings.output_bytes < before;
}

std::optional<bool> faster(const Findings& findings) {
  if (!findings.run.not_run.empty() || !findings.speed) return std::nullopt;
  return findings.speed->ms_packed < findings.speed->ms_dense;
}

}  // namespace espalier
