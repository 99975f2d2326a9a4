#pragma once

namespace espalier {

/// For tests: whether dot instructions are used where the processor has them (they are at first).
void set_dot_instructions(bool use);
/// Whether they are in use: by the processor, the instruction set in use, and the above.
bool dot_instructions();

/// Most operations (2 a multiply-add) of 8-bit dot products a second on one thread, in 10^9,
/// measured with what the kernels use.
double peak_int8_gops();

}  // namespace espalier
