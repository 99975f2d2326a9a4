#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/nnef/read/call.h"

namespace espalier::nnef {

/// The lists of a scan's invocation, their names resolved to parameters and results of its body.
struct Scan {
  const Fragment* body = nullptr;
  struct Scanned {
    TensorRef tensor;
    size_t parameter;
  };
  std::vector<Scanned> scanned;
  bool reverse = false;
  struct State {
    TensorRef initial;
    size_t parameter, result;
  };
  std::vector<State> states;
  struct Constant {
    TensorRef value;
    size_t parameter;
  };
  std::vector<Constant> constants;
  struct Output {
    size_t result;
    bool full;
  };
  std::vector<Output> outputs;
};

/// x + h R^T + biases, of one gate or of all gates at once; absent terms are empty.
struct GateSum {
  std::optional<size_t> x;  ///< index among the scanned tensors
  std::optional<TensorRef> r;
  std::vector<TensorRef> biases;
};

/// What the body computes, in terms of what the scan is given.
struct ScanStep {
  std::string op;               ///< LSTM, GRU, RNN
  std::string activation;       ///< of an RNN
  std::vector<GateSum> gates;   ///< one for all gates together, or one for each in ONNX's order
  std::optional<GateSum> held;  ///< of a GRU: h R^T + b of the last gate (of all gates), without x
  size_t h = 0;                 ///< index of the state that is the output
};

/// The formulas of a step that are recognised, with s = x + h R^T [+ b], where x = X W^T [+ b] was
/// computed before the loop for all steps at once:
///   RNN   h' = a(s)
///   LSTM  h', c' = epilogue(s, c)    all gates in one product, as tract writes it
///         c' = sigmoid(s_f) c + sigmoid(s_i) tanh(s_g), h' = sigmoid(s_o) tanh(c')
///   GRU   h' = epilogue(x + b, h R^T + b, h)
///         h' = (1 - z) n + z h, z = sigmoid(s_z), n = tanh(x_n + sigmoid(s_r) (h R_n^T + b))
/// The second form of LSTM and GRU has a product for each gate, as torch_to_nnef writes it.
///
/// Runs the body of the scan in a graph of its own and compares what it computes with these
/// formulas; names decide nothing. NotTranslated for any other body.
ScanStep step_of(const Call& call, const Scan& scan);

}  // namespace espalier::nnef
