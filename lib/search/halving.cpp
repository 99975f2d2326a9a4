#include "lib/search/halving.h"

#include <cmath>

#include "lib/base/check.h"

namespace espalier {

std::optional<double> nearest_that_meets(double preferred, double other, double step,
                                         const std::function<bool(double)>& meets) {
  ESPALIER_CHECK(step > 0);
  if (meets(preferred)) return preferred;
  if (!meets(other)) return std::nullopt;
  return halved(preferred, other, step, meets);
}

double halved(double missed, double met, double step, const std::function<bool(double)>& meets) {
  while (std::abs(met - missed) > step) {
    const double middle = (met + missed) / 2;
    (meets(middle) ? met : missed) = middle;
  }
  return met;
}

}  // namespace espalier
