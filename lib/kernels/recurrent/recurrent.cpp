#include "lib/kernels/recurrent/recurrent.h"

#include <algorithm>

#include "lib/kernels/recurrent/recurrent_step.h"

namespace espalier {
namespace {

size_t step_scratch(const RecurrentRules& rules, size_t batch, size_t hidden) {
  switch (rules.kind) {
    case RecurrentKind::kGru:
      return gru_scratch(rules, batch, hidden);
    case RecurrentKind::kLstm:
      return lstm_scratch(batch, hidden);
    case RecurrentKind::kRnn:
      break;
  }
  return rnn_scratch(batch, hidden);
}

void advance(const RecurrentStep& step) {
  switch (step.rules.kind) {
    case RecurrentKind::kGru:
      return gru_step(step);
    case RecurrentKind::kLstm:
      return lstm_step(step);
    case RecurrentKind::kRnn:
      return rnn_step(step);
  }
}

size_t states_of(RecurrentKind kind) { return kind == RecurrentKind::kLstm ? 2 : 1; }

bool ragged(const RecurrentSequences& s) {
  return s.lengths != nullptr && std::any_of(s.lengths, s.lengths + s.batch, [&](int32_t length) {
           return static_cast<size_t>(length) != s.steps;
         });
}

// Writes y of the sequences that go on, and puts the states of the others back.
void finish_step(const RecurrentStep& step, std::span<float* const> states, const float* saved,
                 float* y) {
  const RecurrentSequences& s = step.sequences;
  const size_t hidden = s.hidden, state_size = s.batch * hidden;
  for (size_t n = 0; n < s.batch; ++n) {
    if (step.goes_on(n)) {
      if (y == nullptr) continue;
      std::copy_n(step.h + n * hidden, hidden, y + step.time(n) * s.y_step + n * s.y_sequence);
      continue;
    }
    for (size_t i = 0; i < states.size(); ++i)
      std::copy_n(saved + i * state_size + n * hidden, hidden, states[i] + n * hidden);
    if (y != nullptr) std::fill_n(y + step.step * s.y_step + n * s.y_sequence, hidden, 0.0F);
  }
}

}  // namespace

bool RecurrentRules::fused() const {
  using Kind = Activation::Kind;
  if (clip > 0 || activations[0].kind != Kind::kSigmoid || activations[1].kind != Kind::kTanh)
    return false;
  return kind != RecurrentKind::kLstm || activations[2].kind == Kind::kTanh;
}

size_t recurrent_scratch(const RecurrentRules& rules, const RecurrentSequences& s) {
  const size_t saved = s.lengths == nullptr ? 0 : states_of(rules.kind) * s.batch * s.hidden;
  return step_scratch(rules, s.batch, s.hidden) + whole_lines(saved);
}

void run_recurrent(const RecurrentRules& rules, const RecurrentWeights& weights,
                   const RecurrentSequences& sequences, const float* projected, float* h, float* c,
                   float* y, float* scratch, ThreadPool& pool) {
  RecurrentStep step{.rules = rules,
                     .weights = weights,
                     .sequences = sequences,
                     .projected = projected,
                     .h = h,
                     .c = c,
                     .scratch = scratch,
                     .pool = pool,
                     .fused = rules.fused()};
  const std::array<float*, 2> both{h, c};
  const auto states = std::span(both).first(states_of(rules.kind));
  const size_t state_size = sequences.batch * sequences.hidden;
  float* const saved = ragged(sequences)
                           ? scratch + step_scratch(rules, sequences.batch, sequences.hidden)
                           : nullptr;
  for (; step.step < sequences.steps; ++step.step) {
    for (size_t i = 0; saved != nullptr && i < states.size(); ++i)
      std::copy_n(states[i], state_size, saved + i * state_size);
    advance(step);
    finish_step(step, states, saved, y);
  }
}

}  // namespace espalier
