#pragma once

#include <functional>
#include <optional>

namespace espalier {

/// Between `preferred` and `other`, the value nearest to `preferred` that meets a condition which
/// holds from some value on towards `other`, to within `step`: `preferred` itself where it meets,
/// nothing where not even `other` does.
///
/// Invariant  what is returned was tried and met. `meets` is called once for each value, and never
///            for one that is beyond a value that is known to meet or to miss.
/// Cost       2 + log2(|other - preferred| / step) calls.
std::optional<double> nearest_that_meets(double preferred, double other, double step,
                                         const std::function<bool(double)>& meets);

/// The same where `missed` is known to miss and `met` to meet.
double halved(double missed, double met, double step, const std::function<bool(double)>& meets);

}  // namespace espalier
