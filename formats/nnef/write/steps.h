#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace espalier::nnef {

/// A fragment that makes one step of a recurrent operator: the body of a tract_core_scan.
///
/// Parameters  h [1, N, H] (then c of an LSTM), x [1, N, gates * H], r [gates * H, H], and b [1,
///             gates * H] where the step adds a bias itself; x holds the input's projection and all
///             biases that need not wait for h.
/// Results     h_next (then c_next), [1, N, H].
struct Step {
  std::string name;  ///< says everything that the text depends on
  std::string text;  ///< ends with a newline
};

/// `activations` are ONNX's: Sigmoid, Tanh or Relu.
/// h' = (1 - z) g + z h; z, r, g in this order in x and r. `reset_last` (linear_before_reset): g =
/// a(x + r (h R_g^T + b_g)), else g = a(x + (r h) R_g^T); only the first may have a bias.
Step gru_step(int64_t hidden, const std::vector<std::string>& activations, bool reset_last,
              bool has_bias);
/// c' = f c + i g, h' = o a(c'); i, o, f, g in this order in x and r. With the usual activations it
/// is tract's own operator.
Step lstm_step(int64_t hidden, const std::vector<std::string>& activations);
/// h' = a(x + h R^T)
Step rnn_step(const std::vector<std::string>& activations);

}  // namespace espalier::nnef
