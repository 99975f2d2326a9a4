#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "lib/ops/operator.h"
#include "lib/ops/weight_product.h"

namespace espalier {

/// An activation of GRU, LSTM and RNN, with its alpha and beta.
struct Activation {
  enum class Kind {
    kSigmoid,
    kTanh,
    kRelu,
    kAffine,
    kLeakyRelu,
    kThresholdedRelu,
    kScaledTanh,
    kHardSigmoid,
    kElu,
    kSoftsign,
    kSoftplus
  };
  Kind kind = Kind::kSigmoid;
  float alpha = 0, beta = 0;

  void apply(std::span<float> values) const;  ///< in place
};

/// What GRU, LSTM and RNN have in common.
struct RecurrentAttributes {
  bool forward = true, reverse = false;  ///< bidirectional: both
  bool batch_first = false;              ///< layout = 1
  float clip = 0;                        ///< of what goes into an activation; 0: none
  int64_t hidden_size = 0;               ///< 0: follows from R
  std::vector<Activation> activations;   ///< of one direction after the other

  /// `defaults` are those of one direction.
  /// Errors  Fault::kUnsupported for an unknown activation or direction.
  RecurrentAttributes(const Node& node, const std::vector<std::string>& defaults);

  size_t directions() const { return forward && reverse ? 2 : 1; }
  void clip_values(std::span<float> values) const;
};

/// Shapes of one run, checked against each other.
struct RecurrentExtents {
  size_t steps = 0, batch = 0, inputs = 0, hidden = 0, gates = 0, directions = 1;
  bool batch_first = false;

  /// Inputs X, W, R, B, sequence_lens, initial_h of the node.
  RecurrentExtents(const RunContext& run, const RecurrentAttributes& attributes, size_t gates);

  /// Row of X (and of products of it) at a time step of a sequence.
  size_t row(size_t step, size_t sequence) const {
    return batch_first ? sequence * steps + step : step * batch + sequence;
  }
  /// Offset into Y [T, D, N, H], or [N, T, D, H], and into Y_h [D, N, H], or [N, D, H].
  size_t output_at(size_t step, size_t direction, size_t sequence) const;
  size_t state_at(size_t direction, size_t sequence) const;
  Dims output_dims() const;
  Dims state_dims() const;
};

/// One direction of a recurrent layer as its operator sees it: a cell that turns what came from X
/// and the state into the next state.
struct RecurrentStep {
  size_t batch, hidden;
  const float* const* projected;  ///< per sequence: gates * hidden values of W x + bias
  float* state;                   ///< [batch, hidden], in and out
};

/// Copies state (or cell) number `input` of the node, zeros where it is left out, into `to`
/// [batch, hidden].
void load_state(const RunContext& run, size_t input, const RecurrentExtents& extents,
                size_t direction, float* to);
/// And back into output `y`, laid out as state_dims().
void store_state(const float* from, const RecurrentExtents& extents, size_t direction, float* y);

/// Runs one direction over all steps. `projected` is W x + bias for all rows of X; `advance` is
/// called per step; afterwards the states of sequences that go on are written to `y` (or nowhere,
/// if null) and those of sequences that have ended are put back.
///
/// `states` are the [batch, hidden] arrays that a step changes; the first is the output.
void run_direction(RunContext& run, const RecurrentExtents& extents, size_t direction,
                   bool backwards, const float* projected, std::span<float* const> states, float* y,
                   const std::function<void(const RecurrentStep&)>& advance);

/// Pieces of W: all gates of a direction at once.
std::vector<WeightProducts::Piece> one_piece_per_direction(const Fold& fold, size_t gates);

/// W x + bias for all steps, [rows of X, gates * hidden], in scratch memory. bias [gates * hidden]
/// or null.
const float* project_inputs(RunContext& run, const RecurrentExtents& extents,
                            const SparseProduct& weight, const float* bias);

/// Biases of a direction, of W x and of R h: B holds [Wb, Rb] per direction. Null where the node
/// has none.
const float* input_bias(const RunContext& run, const RecurrentExtents& extents, size_t direction);
const float* recurrent_bias(const RunContext& run, const RecurrentExtents& extents,
                            size_t direction);

}  // namespace espalier
