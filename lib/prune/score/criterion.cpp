#include "lib/prune/score/criterion.h"

#include <algorithm>
#include <array>

namespace espalier {

std::span<const Criterion* const> criteria() {
  static constexpr std::array kCriteria{
#define ESPALIER_CRITERION(name) &name##_criterion,
#include "lib/prune/score/criteria.def"
#undef ESPALIER_CRITERION
  };
  return kCriteria;
}

const Criterion* find_criterion(std::string_view name) {
  const auto all = criteria();
  const auto found = std::ranges::find(all, name, &Criterion::name);
  return found == all.end() ? nullptr : *found;
}

}  // namespace espalier
