#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "lib/kernels/recurrent/activation.h"
#include "lib/kernels/product.h"

namespace espalier {

enum class RecurrentKind : uint8_t { kGru, kLstm, kRnn };

/// Gates in ONNX's order: GRU z, r, h; LSTM i, o, f, c; RNN one.
constexpr size_t gates_of(RecurrentKind kind) {
  return kind == RecurrentKind::kGru ? 3 : kind == RecurrentKind::kLstm ? 4 : 1;
}
constexpr size_t activations_of(RecurrentKind kind) {
  return kind == RecurrentKind::kGru ? 2 : kind == RecurrentKind::kLstm ? 3 : 1;
}

/// What one direction of a recurrent layer computes, weights apart.
struct RecurrentRules {
  RecurrentKind kind = RecurrentKind::kGru;
  bool reset_after = false;                 ///< GRU: linear_before_reset
  float clip = 0;                           ///< of what goes into an activation; 0: none
  std::array<Activation, 3> activations{};  ///< f, g, h; as many as activations_of

  /// Sigmoid and tanh without a clip, which have cells of their own (recurrent_cell.h).
  bool fused() const;
};

/// The recurrent weight of one direction, [gates * hidden, hidden].
struct RecurrentWeights {
  const Product* recurrent = nullptr;  ///< all gates; z and r of a GRU without reset_after
  const Product* candidate = nullptr;  ///< h of a GRU without reset_after
  const float* bias = nullptr;               ///< of R h, [gates * hidden], or null
  const float* peephole = nullptr;           ///< LSTM: i, o, f, [3 * hidden], or null
};

/// How sequences lie in memory. Strides are those from a step, and from a sequence, to the next.
struct RecurrentSequences {
  size_t steps = 0, batch = 0, hidden = 0;
  size_t x_step = 0, x_sequence = 0;  ///< rows of W x + bias
  size_t y_step = 0, y_sequence = 0;  ///< floats of Y
  bool backwards = false;             ///< from the last step of each sequence to its first
  const int32_t* lengths = nullptr;   ///< [batch], each 0 to steps; null: all steps
};

/// Floats of scratch memory that run_recurrent needs.
size_t recurrent_scratch(const RecurrentRules& rules, const RecurrentSequences& sequences);

/// Runs one direction over all steps.
///
/// Shapes  projected: W x + bias, rows of gates * hidden; h, c [batch, hidden]: states in and out,
///         those of a sequence that has ended stay as they are; c is used by LSTM alone. y takes h
///         of every step, zeros behind the end of a sequence; it may be null.
/// Layout  scratch begins at a multiple of 64 bytes. Arrays must not overlap.
void run_recurrent(const RecurrentRules& rules, const RecurrentWeights& weights,
                   const RecurrentSequences& sequences, const float* projected, float* h, float* c,
                   float* y, float* scratch, ThreadPool& pool);

}  // namespace espalier
