#pragma once

#include <optional>

#include "formats/nnef/decode_fragments.h"
#include "formats/nnef/read/call.h"

namespace espalier::nnef {

/// What the fragment `kind` gives for constant arguments: a packed weight, or a Diagonal. Blocks of
/// i8 have a scale of ones; those of other integers become f32, which loses nothing.
/// Blocks of a first-element index that lie off the grid are packed anew, in the smallest way; the
/// weight is dense where that is smaller. NotTranslated where an argument is no constant.
///
/// Errors  Fault::kFormat: a block outside of the grid, a place taken twice, shapes that do not
/// fit.
EvalValue decode_variable(Decode kind, const Call& call);

/// Arithmetic on packed constants that gives a packed constant again: a diagonal added, strips
/// joined below (axis 0) or beside each other (axis 1), rows scaled: the scale of i8 blocks, else
/// the values. Nothing where it is not one of these.
std::optional<EvalValue> add_packed(const TensorRef& a, const TensorRef& b);
std::optional<EvalValue> concat_packed(const std::vector<TensorRef>& parts, size_t axis);
std::optional<EvalValue> scale_packed(const TensorRef& a, const TensorRef& b);

/// Values where a mask of their shape, logical or 0.0 and 1.0, keeps them, else zeros: dense until
/// an operator says how it folds. NAME/values and NAME/mask give NAME. Nothing where these are no
/// such constants.
std::optional<EvalValue> mask_constant(const TensorRef& mask, const TensorRef& values);

}  // namespace espalier::nnef
