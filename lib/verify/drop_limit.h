#pragma once

#include <string>
#include <string_view>

#include "lib/verify/metric.h"

namespace espalier {

/// What a metric may lose: in its own unit ("0.3"), or as a share of what it was ("1%").
struct DropLimit {
  double value = 0;
  bool share = false;
  std::string text;  ///< as it was given
};

/// The loss that is allowed for a metric that was `before`.
double allowed_drop(const DropLimit& limit, double before);

/// The value of the metric that loses all that is allowed: above `dense.a` where less is better.
double worst_allowed(const DropLimit& limit, const MetricPair& dense);

/// Whether `b` lost no more than is allowed; a NaN is never within that.
bool within(const DropLimit& limit, const MetricPair& metric);

/// Refuses a number without % of at least half of what the metric was: "1" of top1 lets a model
/// lose everything, and 1% was probably meant. mse, whose values may be near zero, and a metric of
/// zero pass. `option`: as the user wrote it.
/// Errors  Fault::kUsage.
void check_bare_drop(const DropLimit& limit, const std::string& metric, double before,
                     std::string_view option);

}  // namespace espalier
