#pragma once

#include <string>

#include "lib/sparse/block_shape.h"
#include "lib/tensor/matrix_view.h"

namespace espalier {

/// Above so many multiply-adds the default gives way to a cheaper method: a count, not a time, so
/// that every machine chooses alike.
inline constexpr double kMostMultiplyAdds = 1e12;

/// The first of obs, admm and sparsegpt that takes a layer at most so many multiply-adds; sparsegpt
/// in any case.
std::string default_method(const Fold& fold, BlockShape block, double most = kMostMultiplyAdds);

/// What obs would take.
double obs_multiply_adds(const Fold& fold, BlockShape block);

}  // namespace espalier
