#pragma once

#include <optional>
#include <vector>

#include "formats/nnef/read/call.h"

namespace espalier::nnef {

/// Arithmetic on packed constants whose result is a packed constant again; nullopt for anything
/// else.

/// Blocks plus a diagonal, in either order.
std::optional<EvalValue> add_packed(const TensorRef& a, const TensorRef& b);

/// Strips joined below each other (axis 0) or next to each other (axis 1).
std::optional<EvalValue> concat_packed(const std::vector<TensorRef>& parts, size_t axis);

/// Strips of diagonals joined below each other: consecutive rows of entire parts.
std::optional<EvalValue> concat_diagonals(const std::vector<TensorRef>& parts);

/// Rows scaled: the scale of i8 blocks, else their values.
std::optional<EvalValue> scale_packed(const TensorRef& a, const TensorRef& b);

/// Values where a mask of their shape, logical or 0.0 and 1.0, keeps them, else zeros: dense until
/// an operator says how it folds. NAME/values and NAME/mask give NAME. nullopt for other constants.
std::optional<EvalValue> mask_constant(const TensorRef& mask, const TensorRef& values);

}  // namespace espalier::nnef
