// z = f(Wz x + Rz h + bz), r = f(Wr x + Rr h + br),
// n = g(Wn x + Wbn + r * (Rn h + Rbn))     with reset_after, else
// n = g(Wn x + Wbn + Rn (r * h) + Rbn),    h' = (1 - z) n + z h.       Gates lie as z, r, n in W
// and R.

#include "lib/kernels/elementwise/elementwise.h"
#include "lib/kernels/elementwise/recurrent_cell.h"
#include "lib/kernels/recurrent/recurrent_step.h"

namespace espalier {
namespace {

constexpr size_t kGates = 3;

// One sequence's step from its parts: x = W input + bias and s = R state + bias, gates as in W.
struct Cell {
  const RecurrentStep& step;
  size_t hidden;

  // The reset gate multiplies s of the candidate; s is used up, h becomes the next state.
  void reset_after(const float* x, float* s, float* h) const {
    if (step.fused) return gru_cell(hidden, x, s, h);
    activate_gates(x, s);
    const std::span<float> n(s + 2 * hidden, hidden);
    multiply({s + hidden, hidden}, n, n);
    finish(x + 2 * hidden, n, s, h);
  }
  // s holds two gates: z takes the place of the first, reset = r h.
  void gates(const float* x, float* s, const float* h, float* reset) const {
    if (step.fused) return gru_gates(hidden, x, s, h, reset);
    activate_gates(x, s);
    multiply({s + hidden, hidden}, {h, hidden}, {reset, hidden});
  }
  // x and s are those of the candidate; s is used up, h becomes the next state.
  void update(const float* x, float* s, const float* z, float* h) const {
    if (step.fused) return gru_update(hidden, x, s, z, h);
    finish(x, {s, hidden}, z, h);
  }

 private:
  // s [2 * hidden] becomes z and r.
  void activate_gates(const float* x, float* s) const {
    const std::span<float> both(s, 2 * hidden);
    add({x, 2 * hidden}, both, both);
    step.activate(both, 0);
  }
  void finish(const float* x, std::span<float> n, const float* z, float* h) const {
    add({x, hidden}, n, n);
    step.activate(n, 1);
    blend(n, {h, hidden}, {z, hidden}, {h, hidden});
  }
};

// The reset gate multiplies Rn h + Rbn: one product for all three gates.
void reset_after(const RecurrentStep& step) {
  const size_t hidden = step.hidden(), width = kGates * hidden;
  const Cell cell{step, hidden};
  float* const sums = step.scratch;
  step.weights.recurrent->run(step.h, Features::kInner, step.batch(), step.weights.bias, sums,
                              step.pool);
  for (size_t n = 0; n < step.batch(); ++n)
    cell.reset_after(step.row(n), sums + n * width, step.h + n * hidden);
}

// The reset gate multiplies h itself: the candidate's product waits for it.
void reset_before(const RecurrentStep& step) {
  const size_t hidden = step.hidden(), batch = step.batch();
  const float* const bias = step.weights.bias;
  const Cell cell{step, hidden};
  float* const gates = step.scratch;
  float* const reset = gates + whole_lines(batch * 2 * hidden);
  float* const sums = reset + whole_lines(batch * hidden);
  step.weights.recurrent->run(step.h, Features::kInner, batch, bias, gates, step.pool);
  for (size_t n = 0; n < batch; ++n)
    cell.gates(step.row(n), gates + n * 2 * hidden, step.h + n * hidden, reset + n * hidden);
  step.weights.candidate->run(reset, Features::kInner, batch,
                              bias == nullptr ? nullptr : bias + 2 * hidden, sums, step.pool);
  for (size_t n = 0; n < batch; ++n)
    cell.update(step.row(n) + 2 * hidden, sums + n * hidden, gates + n * 2 * hidden,
                step.h + n * hidden);
}

}  // namespace

size_t gru_scratch(const RecurrentRules& rules, size_t batch, size_t hidden) {
  if (rules.reset_after) return whole_lines(batch * kGates * hidden);
  return whole_lines(batch * 2 * hidden) + 2 * whole_lines(batch * hidden);
}

void gru_step(const RecurrentStep& step) {
  return step.rules.reset_after ? reset_after(step) : reset_before(step);
}

}  // namespace espalier
