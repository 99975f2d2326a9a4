#include "lib/verify/drop_limit.h"

#include <fmt/format.h>

#include <cmath>

#include "lib/base/error.h"

namespace espalier {

double allowed_drop(const DropLimit& limit, double before) {
  return limit.share ? limit.value * std::abs(before) : limit.value;
}

double worst_allowed(const DropLimit& limit, const MetricPair& dense) {
  const double allowed = allowed_drop(limit, dense.a);
  const bool less_is_better = metric_drop(dense.name, 0, 1) > 0;
  return less_is_better ? dense.a + allowed : dense.a - allowed;
}

bool within(const DropLimit& limit, const MetricPair& metric) {
  return metric_drop(metric.name, metric.a, metric.b) <= allowed_drop(limit, metric.a);
}

void check_bare_drop(const DropLimit& limit, const std::string& metric, double before,
                     std::string_view option) {
  if (limit.share || limit.value == 0 || before == 0 || metric == "mse") return;
  if (!(limit.value >= std::abs(before) / 2)) return;
  throw Error(Fault::kUsage,
              fmt::format("{} {}: {} of the dense model is {:.6g}, which could lose half of it and "
                          "more; did you mean {}%? (100% allows any loss)",
                          option, limit.text, printable(metric), before, limit.text));
}

}  // namespace espalier
