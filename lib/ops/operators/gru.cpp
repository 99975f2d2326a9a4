// z = f(Wz x + Rz h + bz), r = f(Wr x + Rr h + br),
// n = g(Wn x + Wbn + r * (Rn h + Rbn))     with linear_before_reset, else
// n = g(Wn x + Wbn + Rn (r * h) + Rbn),    h' = (1 - z) n + z h.       Gates lie as z, r, h in W
// and R.

#include <algorithm>
#include <functional>

#include "lib/kernels/elementwise/elementwise.h"
#include "lib/kernels/elementwise/recurrent_cell.h"
#include "lib/ops/fold.h"
#include "lib/ops/op_util.h"
#include "lib/ops/recurrent.h"

namespace espalier {
namespace {

constexpr size_t kGates = 3;

std::optional<Fold> fold(const Node&, size_t input, const Shape& shape) {
  return fold_recurrent(kGates, input, shape);
}
bool takes_packed(const Node&, size_t input) { return input == 1 || input == 2; }

std::vector<WeightProducts::Piece> whole(const Fold& fold) {
  return one_piece_per_direction(fold, kGates);
}

// z and r together, then the candidate, which waits for r.
std::vector<WeightProducts::Piece> gates_and_candidate(const Fold& fold) {
  std::vector<WeightProducts::Piece> pieces;
  for (size_t first = 0; first < fold.parts; first += kGates) {
    pieces.push_back({first, 2});
    pieces.push_back({first + 2, 1});
  }
  return pieces;
}

// One sequence's step from its parts: x = W input + bias and s = R state + bias, gates as in W.
struct Cell {
  const RecurrentAttributes& attributes;
  const Activation &gate, &candidate;
  size_t hidden;
  bool fused;  // sigmoid and tanh, without a clip

  // The reset gate multiplies s of the candidate; s is used up, h becomes the next state.
  void reset_after(const float* x, float* s, float* h) const {
    if (fused) return gru_cell(hidden, x, s, h);
    activate_gates(x, s);
    const std::span<float> n(s + 2 * hidden, hidden);
    multiply({s + hidden, hidden}, n, n);
    finish(x + 2 * hidden, n, s, h);
  }
  // s holds two gates: z takes the place of the first, reset = r h.
  void gates(const float* x, float* s, const float* h, float* reset) const {
    if (fused) return gru_gates(hidden, x, s, h, reset);
    activate_gates(x, s);
    multiply({s + hidden, hidden}, {h, hidden}, {reset, hidden});
  }
  // x and s are those of the candidate; s is used up, h becomes the next state.
  void update(const float* x, float* s, const float* z, float* h) const {
    if (fused) return gru_update(hidden, x, s, z, h);
    finish(x, {s, hidden}, z, h);
  }

 private:
  // s [2 * hidden] becomes z and r.
  void activate_gates(const float* x, float* s) const {
    const std::span<float> both(s, 2 * hidden);
    add({x, 2 * hidden}, both, both);
    attributes.clip_values(both);
    gate.apply(both);
  }
  void finish(const float* x, std::span<float> n, const float* z, float* h) const {
    add({x, hidden}, n, n);
    attributes.clip_values(n);
    candidate.apply(n);
    blend(n, {h, hidden}, {z, hidden}, {h, hidden});
  }
};

class GruRun {
 public:
  explicit GruRun(const PrepareContext& context)
      : attributes_(context.node, {"Sigmoid", "Tanh"}),
        reset_after_(int_attribute(context.node, "linear_before_reset", 0) != 0),
        input_(context, 1, whole),
        recurrent_(context, 2, reset_after_ ? whole : gates_and_candidate) {}

  void operator()(RunContext& run) const {
    const RecurrentExtents e(run, attributes_, kGates);
    float* y = run.wants_output(0) ? f32_output(run, 0, e.output_dims()) : nullptr;
    float* last = run.wants_output(1) ? f32_output(run, 1, e.state_dims()) : nullptr;
    if (e.batch == 0) return;
    const auto input = input_.get(run), recurrent = recurrent_.get(run);
    for (size_t d = 0; d < e.directions; ++d) {
      const float* projected = project_inputs(run, e, *input->products[d], input_bias(run, e, d));
      float* state = run.scratch_f32(e.batch * e.hidden);
      load_state(run, 5, e, d, state);
      const bool backwards = attributes_.reverse && (d == 1 || !attributes_.forward);
      const Activation &gate = attributes_.activations[2 * d],
                       &candidate = attributes_.activations[2 * d + 1];
      const bool fused = attributes_.clip == 0 && gate.kind == Activation::Kind::kSigmoid &&
                         candidate.kind == Activation::Kind::kTanh;
      const Cell cell{attributes_, gate, candidate, e.hidden, fused};
      const std::array states{state};
      if (reset_after_) {
        run_reset_after(run, e, d, backwards, projected, *recurrent->products[d], cell, states, y);
      } else {
        run_reset_before(run, e, d, backwards, projected, *recurrent->products[2 * d],
                         *recurrent->products[2 * d + 1], cell, states, y);
      }
      if (last != nullptr) store_state(state, e, d, last);
    }
  }

 private:
  // The reset gate multiplies Rn h + Rbn: one product for all three gates.
  void run_reset_after(RunContext& run, const RecurrentExtents& e, size_t d, bool backwards,
                       const float* projected, const SparseProduct& product, const Cell& cell,
                       std::span<float* const> states, float* y) const {
    const size_t h = e.hidden, width = kGates * h;
    const float* bias = recurrent_bias(run, e, d);
    float* recurrent = run.scratch_f32(e.batch * width);
    const auto advance = [&](const RecurrentStep& step) {
      product.run(step.state, Features::kInner, e.batch, bias, recurrent, run.pool());
      for (size_t n = 0; n < e.batch; ++n) {
        cell.reset_after(step.projected[n], recurrent + n * width, step.state + n * h);
      }
    };
    run_direction(run, e, d, backwards, projected, states, y, std::ref(advance));
  }

  // The reset gate multiplies h itself: the candidate's product waits for it.
  void run_reset_before(RunContext& run, const RecurrentExtents& e, size_t d, bool backwards,
                        const float* projected, const SparseProduct& gates,
                        const SparseProduct& candidate, const Cell& cell,
                        std::span<float* const> states, float* y) const {
    const size_t h = e.hidden;
    const float* bias = recurrent_bias(run, e, d);
    float* recurrent = run.scratch_f32(e.batch * 2 * h);
    float* reset = run.scratch_f32(e.batch * h);
    float* sums = run.scratch_f32(e.batch * h);
    const auto advance = [&](const RecurrentStep& step) {
      gates.run(step.state, Features::kInner, e.batch, bias, recurrent, run.pool());
      for (size_t n = 0; n < e.batch; ++n) {
        cell.gates(step.projected[n], recurrent + n * 2 * h, step.state + n * h, reset + n * h);
      }
      candidate.run(reset, Features::kInner, e.batch, bias == nullptr ? nullptr : bias + 2 * h,
                    sums, run.pool());
      for (size_t n = 0; n < e.batch; ++n) {
        cell.update(step.projected[n] + 2 * h, sums + n * h, recurrent + n * 2 * h,
                    step.state + n * h);
      }
    };
    run_direction(run, e, d, backwards, projected, states, y, std::ref(advance));
  }

  RecurrentAttributes attributes_;
  bool reset_after_;
  WeightProducts input_, recurrent_;
};

}  // namespace

constinit const Operator gru_operator{
    .name = "GRU",
    .fold = fold,
    .takes_packed = takes_packed,
    .prepare = [](const PrepareContext& context) -> Run { return GruRun(context); },
    .half_as_f32 = true};

}  // namespace espalier
