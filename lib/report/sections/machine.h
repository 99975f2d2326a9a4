#pragma once

#include "lib/report/results.h"

namespace espalier {

/// The JSON object "machine" and the line of the same on paper.
void add_machine(const Machine& machine, Report& report);

}  // namespace espalier
