#pragma once

#include <cstddef>

namespace espalier {

/// What one thread of this machine can do at most, measured now with the instruction set in use:
/// each takes some ten milliseconds.
double peak_gflops();              ///< f32 multiply-adds in registers, 2 operations each
double read_gbytes(size_t bytes);  ///< 1e9 bytes a second, of `bytes` that are read again and again

}  // namespace espalier
