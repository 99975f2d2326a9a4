// h' = f(W x + R h + Wb + Rb)

#include "lib/kernels/elementwise/elementwise.h"
#include "lib/kernels/recurrent/recurrent_step.h"

namespace espalier {

size_t rnn_scratch(size_t batch, size_t hidden) { return whole_lines(batch * hidden); }

void rnn_step(const RecurrentStep& step) {
  const size_t hidden = step.hidden();
  float* const sums = step.scratch;
  step.weights.recurrent->run(step.h, Features::kInner, step.batch(), step.weights.bias, sums,
                              step.pool);
  for (size_t n = 0; n < step.batch(); ++n) {
    const std::span<float> next(step.h + n * hidden, hidden);
    add({step.row(n), hidden}, {sums + n * hidden, hidden}, next);
    step.activate(next, 0);
  }
}

}  // namespace espalier
