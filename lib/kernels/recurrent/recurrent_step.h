#pragma once

// Inside lib/kernels/recurrent only: one step of all sequences, as the cells see it.

#include <algorithm>
#include <span>

#include "lib/base/checked_math.h"
#include "lib/kernels/recurrent/recurrent.h"

namespace espalier {

struct RecurrentStep {
  const RecurrentRules& rules;
  const RecurrentWeights& weights;
  const RecurrentSequences& sequences;
  const float* projected;
  float *h, *c;
  float* scratch;
  ThreadPool& pool;
  bool fused;
  size_t step = 0;

  size_t hidden() const { return sequences.hidden; }
  size_t batch() const { return sequences.batch; }
  size_t length(size_t n) const {
    return sequences.lengths == nullptr ? sequences.steps
                                        : static_cast<size_t>(sequences.lengths[n]);
  }
  bool goes_on(size_t n) const { return step < length(n); }
  /// Of a sequence that goes on.
  size_t time(size_t n) const { return sequences.backwards ? length(n) - 1 - step : step; }
  /// W x + bias of sequence n at this step; of any step where it has ended.
  const float* row(size_t n) const {
    const size_t time = goes_on(n) ? this->time(n) : 0;
    return projected +
           (time * sequences.x_step + n * sequences.x_sequence) * gates_of(rules.kind) * hidden();
  }

  void clip_values(std::span<float> values) const {
    if (!(rules.clip > 0)) return;
    for (float& value : values) value = std::clamp(value, -rules.clip, rules.clip);
  }
  void activate(std::span<float> values, size_t activation) const {
    clip_values(values);
    rules.activations[activation].apply(values);
  }
};

/// Pieces of scratch memory begin at a cache line.
constexpr size_t whole_lines(size_t floats) { return round_up(floats, 16); }

size_t gru_scratch(const RecurrentRules& rules, size_t batch, size_t hidden);
void gru_step(const RecurrentStep& step);
size_t lstm_scratch(size_t batch, size_t hidden);
void lstm_step(const RecurrentStep& step);
size_t rnn_scratch(size_t batch, size_t hidden);
void rnn_step(const RecurrentStep& step);

}  // namespace espalier
