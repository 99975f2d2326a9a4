#pragma once

#include <string>
#include <vector>

#include "lib/ir/model.h"

namespace espalier {

/// Inputs besides those that must be fed (input_names): all that may be, with those that have a
/// default; and kept_default_inputs() alone, what the model has as inputs in every format. In the
/// graph's order.
std::vector<std::string> all_input_names(const Model& model);
std::vector<std::string> kept_input_names(const Model& model);

}  // namespace espalier
