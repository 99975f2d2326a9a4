#pragma once

#include <string>
#include <vector>

#include "apps/espalier/destination.h"
#include "lib/report/results.h"
#include "lib/verify/findings.h"

namespace espalier {

/// What verdicts are about. All of it outlives this.
struct Judged {
  const PackedModels& models;
  const Destination& destination;
  const Findings& findings;
};

/// The words for what lib/verify/findings.h found. `rows` say what each weight takes in the file.
Verdict size_verdict(const Judged& judged, const std::vector<LayerResult>& rows);
Verdict accuracy_verdict(const Judged& judged);
Verdict speed_verdict(const Judged& judged);

/// What a reader of the report must know besides.
std::vector<std::string> closing_notes(const Judged& judged);

}  // namespace espalier
