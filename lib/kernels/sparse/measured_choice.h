#pragma once

#include <functional>
#include <optional>

#include "lib/sparse/sparse_matrix.h"

namespace espalier {

/// By a measurement of this machine: whether packed is quicker than dense for n samples; nothing
/// where it has no figures for such blocks and values.
using MeasuredChoice = std::function<std::optional<bool>(const SparseMatrix& weight, size_t n)>;

}  // namespace espalier
