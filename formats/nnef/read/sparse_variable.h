#pragma once

#include "formats/nnef/decode_fragments.h"
#include "formats/nnef/read/call.h"

namespace espalier::nnef {

/// What the fragment `kind` gives for constant arguments: a packed weight, or a Diagonal. Blocks of
/// i8 have a scale of ones; those of other integers become f32, which loses nothing.
/// Blocks of a first-element index that are not on a grid are packed anew, in the smallest way; the
/// weight is dense where that is smaller. NotTranslated where an argument is not a constant.
///
/// Errors  Fault::kFormat: a block outside of the grid, two blocks at one index, shapes that do not
///         match.
EvalValue decode_variable(Decode kind, const Call& call);

}  // namespace espalier::nnef
