#pragma once

#include <optional>
#include <string>
#include <vector>

#include "formats/nnef/read/call.h"

namespace espalier::nnef {

/// One direction of a GRU, LSTM or RNN as ONNX has it.
///
/// Shapes  x [T, N, I], w [gates * H, I], r [gates * H, H], b [.. 2 * gates * H], states [1, N, H];
///         weights and b also with a 1 in front.
struct Recurrence {
  std::string op;
  int64_t hidden = 0, steps = -1, batch = -1;
  bool reverse = false;
  TensorRef x, w, r;
  std::optional<TensorRef> b;
  std::vector<TensorRef> states;  ///< initial h, and c of an LSTM
  std::vector<Attribute> attributes;
};

/// Errors  Fault::kFormat where weights do not fit each other.
void check_weights(const Call& call, const Recurrence& cell, int64_t inputs);

/// The node; gives y [T, N, H] and the last states [1, N, H]. A state that starts at zero is left
/// out of its inputs.
std::vector<TensorRef> make_recurrent(const Call& call, const Recurrence& cell);

/// tract_core_scan over one step of a GRU, LSTM or RNN, as espalier and tract write them: the
/// input's projection in front of the loop, biases there or inside. NotTranslated for any other
/// body.
EvalValue read_scan(const Call& call);

}  // namespace espalier::nnef
