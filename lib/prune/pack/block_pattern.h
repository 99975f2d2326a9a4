#pragma once

#include <optional>

#include "lib/ir/model.h"
#include "lib/sparse/block_shape.h"

namespace espalier {

/// The largest block shape, each side up to 64, by which the zeros of a dense weight lie, or the
/// blocks of a packed one; nothing below 1 % zeros. By a shape they lie if at most 1 % of the
/// zeros, and at most one for ten kept weights, are outside of blocks that are zero altogether.
/// `square`: diagonals of parts are not looked at. Of equal areas the one with more rows.
std::optional<BlockShape> block_pattern(const Weight& weight, const Fold& fold, bool square);
/// Share of zero elements, diagonals of square parts not counted where `skip_diagonal`.
double zero_share(const Weight& weight, const Fold& fold, bool skip_diagonal);

}  // namespace espalier
