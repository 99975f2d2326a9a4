#pragma once

#include <cstddef>

namespace espalier {

/// Steps of recurrent cells with sigmoid gates and tanh, of one sequence, each in one pass over its
/// gates, on the calling thread, by the instruction set in use.
///
/// Shapes  h, c, z, reset [hidden]; x = W input + bias and s = R state + bias [gates * hidden],
///         gate after gate in ONNX's order.
/// Error   that of sigmoid() and tanh(); NaN in, NaN out. Arrays must not overlap.

/// z = sigmoid(x_z + s_z), r = sigmoid(x_r + s_r), n = tanh(x_n + r s_n), h = (1 - z) n + z h.
/// Gates z, r, n: linear_before_reset = 1.
void gru_cell(size_t hidden, const float* x, const float* s, float* h);

/// The same where r multiplies h itself (linear_before_reset = 0), which has a product in the
/// middle. z and r as above, z in place of s_z, and reset = r h. Gates z, r.
void gru_gates(size_t hidden, const float* x, float* s, const float* h, float* reset);
/// n = tanh(x_n + s_n), h = (1 - z) n + z h.
void gru_update(size_t hidden, const float* x_n, const float* s_n, const float* z, float* h);

/// i = sigmoid(x_i + s_i + p_i c), f = sigmoid(x_f + s_f + p_f c), c = f c + i tanh(x_g + s_g),
/// o = sigmoid(x_o + s_o + p_o c), h = o tanh(c). Gates i, o, f, g; peephole [3 * hidden] holds i,
/// o, f, or is null.
void lstm_cell(size_t hidden, const float* x, const float* s, const float* peephole, float* h,
               float* c);

}  // namespace espalier
