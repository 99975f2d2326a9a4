#pragma once

#include <vector>

#include "lib/report/results.h"

namespace espalier {

/// Marks the points that no other beats: at least as good in error, time and bytes, and better in
/// one of them. Error is the drop of the metric called `metric`, or the outputs' error where it is
/// empty; what one of the two points lacks is not compared.
void mark_pareto(std::vector<SweepPoint>& points, const std::string& metric, double dense_metric);

}  // namespace espalier
