#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lib/ir/model.h"

namespace espalier {

/// Every weight of the model with its full name ("node/branch/name" in subgraphs), in graph order.
/// The pointers live as long as the model.
std::vector<std::pair<std::string, const Weight*>> named_weights(const Model& model);

/// Bytes of a weight as it is held: packed_bytes(), or those of its elements, which are not made for
/// it.
uint64_t weight_bytes(const Weight& weight);

bool any_packed(const Model& model);
/// Whether one of those has values of i8, so that the kernels round its inputs to 8 bits.
bool any_int8(const Model& model);

}  // namespace espalier
