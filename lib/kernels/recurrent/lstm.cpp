// i = f(Wi x + Ri h + Pi * c), f = f(Wf x + Rf h + Pf * c), c' = f * c + i * g(Wc x + Rc h),
// o = f(Wo x + Ro h + Po * c'), h' = o * h(c').        Gates lie as i, o, f, c in W and R, i, o, f
// in P.

#include "lib/kernels/elementwise/elementwise.h"
#include "lib/kernels/elementwise/recurrent_cell.h"
#include "lib/kernels/recurrent/recurrent_step.h"

namespace espalier {
namespace {

constexpr size_t kGates = 4;

// sums [4 * hidden] holds R h + bias and is used up; h and c become the next states.
// scratch [hidden].
void cell(const RecurrentStep& step, const float* projected, float* sums, float* h, float* c,
          float* scratch) {
  const float* const peephole = step.weights.peephole;
  const size_t n = step.hidden();
  if (step.fused) return lstm_cell(n, projected, sums, peephole, h, c);
  const std::span<float> i(sums, n), o(sums + n, n), f(sums + 2 * n, n), g(sums + 3 * n, n);
  const std::span<float> state(h, n), cell(c, n), out(scratch, n);
  add({sums, 4 * n}, {projected, 4 * n}, {sums, 4 * n});
  if (peephole == nullptr) {
    step.activate({sums, 3 * n}, 0);  // neighbours i, o, f in one go
  } else {
    multiply_add({peephole, n}, cell, i);
    multiply_add({peephole + 2 * n, n}, cell, f);
    step.activate(i, 0);
    step.activate(f, 0);
  }
  step.activate(g, 1);
  multiply(f, cell, cell);
  multiply_add(i, g, cell);
  if (peephole != nullptr) {
    multiply_add({peephole + n, n}, cell, o);
    step.activate(o, 0);
  }
  std::ranges::copy(cell, out.begin());
  step.rules.activations[2].apply(out);
  multiply(o, out, state);
}

}  // namespace

size_t lstm_scratch(size_t batch, size_t hidden) {
  return whole_lines(batch * kGates * hidden) + whole_lines(hidden);
}

void lstm_step(const RecurrentStep& step) {
  const size_t hidden = step.hidden(), width = kGates * hidden;
  float* const sums = step.scratch;
  float* const more = sums + whole_lines(step.batch() * width);
  step.weights.recurrent->run(step.h, Features::kInner, step.batch(), step.weights.bias, sums,
                              step.pool);
  for (size_t n = 0; n < step.batch(); ++n)
    cell(step, step.row(n), sums + n * width, step.h + n * hidden, step.c + n * hidden, more);
}

}  // namespace espalier
