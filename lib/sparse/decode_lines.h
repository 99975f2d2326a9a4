#pragma once

#include "lib/sparse/sparse_matrix.h"

namespace espalier {

/// Lines of a part as they lie in memory: its rows, or the columns of one that is stored
/// [inputs, outputs].
size_t lines_of_part(const Fold& fold);

/// How many lines share blocks.
size_t lines_together(const SparseMatrix& matrix);

/// Decodes lines [first, last) of a part, as decode() has them, for whoever needs no more at a time.
/// `to` holds them all. `first` is a multiple of lines_together(), `last` one too or the end of the
/// part; values are of the weight's type.
void decode_lines(const SparseMatrix& matrix, size_t part, size_t first, size_t last,
                  std::byte* to);

}  // namespace espalier
