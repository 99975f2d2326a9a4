#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lib/ir/model.h"

namespace espalier {

/// Every weight of the model with its full name ("node/branch/name" in subgraphs), in graph order.
/// The pointers live as long as the model.
std::vector<std::pair<std::string, const Weight*>> named_weights(const Model& model);

bool any_packed(const Model& model);
/// Whether one of those has values of i8, so that the kernels round its inputs to 8 bits.
bool any_int8(const Model& model);

}  // namespace espalier
