#pragma once

#include <string>
#include <vector>

#include "lib/kernels/recurrent/recurrent.h"
#include "lib/ops/operator.h"
#include "lib/ops/weight_product.h"

namespace espalier {

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

/// GRU, LSTM or RNN as its node says: what one direction computes is lib/kernels/recurrent.
class RecurrentRun {
 public:
  RecurrentRun(const PrepareContext& context, RecurrentKind kind, bool reset_after = false);

  void operator()(RunContext& run) const;

 private:
  RecurrentRules rules(size_t direction) const;
  RecurrentWeights weights(const RunContext& run, const RecurrentExtents& extents, size_t direction,
                           const WeightProducts::Made& made) const;

  RecurrentKind kind_;
  bool reset_after_;
  // State after the run before, where runs are pieces of a stream.
  struct Stream {
    std::shared_ptr<const uint64_t> number;
    uint64_t seen = 0;
    std::vector<float> h, c;
  };
  static std::shared_ptr<Stream> stream_of(const PrepareContext& context, RecurrentKind kind);
  void load(const RunContext& run, const RecurrentExtents& e, size_t d, float* h, float* c) const;
  void store(const float* h, const float* c, size_t count) const;

  bool apart_;  // the candidate's product waits for the reset gate
  std::shared_ptr<Stream> stream_;
  RecurrentAttributes attributes_;
  WeightProducts input_, recurrent_;
};

}  // namespace espalier
