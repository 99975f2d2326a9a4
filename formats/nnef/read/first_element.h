#pragma once

#include "formats/nnef/read/call.h"

namespace espalier::nnef {

/// block_sparse_decode_first: the index has the first element of each block, counted in the weight.
/// Blocks that are not on a grid are packed anew, in the smallest way.
/// Errors  as decode_variable.
EvalValue decode_first(const Call& call);

}  // namespace espalier::nnef
