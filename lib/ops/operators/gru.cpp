// z = f(Wz x + Rz h + bz), r = f(Wr x + Rr h + br),
// n = g(Wn x + Wbn + r * (Rn h + Rbn))     with linear_before_reset, else
// n = g(Wn x + Wbn + Rn (r * h) + Rbn),    h' = (1 - z) n + z h.       Gates lie as z, r, h in W
// and R.

#include <algorithm>
#include <functional>

#include "lib/kernels/elementwise.h"
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

// The biases that W x takes: both of z and r, and of the candidate all that r does not multiply.
const float* projected_bias(RunContext& run, const RecurrentExtents& e, size_t direction,
                            bool reset_after) {
  const float* given = input_bias(run, e, direction);
  if (given == nullptr) return nullptr;
  const size_t width = kGates * e.hidden, gates = reset_after ? 2 * e.hidden : width;
  float* bias = run.scratch_f32(width);
  std::copy_n(given, width, bias);
  for (size_t i = 0; i < gates; ++i) bias[i] += given[width + i];
  return bias;
}

// One sequence's gates from its parts; `recurrent` holds R h of z and r.
struct Cell {
  const RecurrentAttributes& attributes;
  const Activation &gate, &candidate;
  size_t hidden;

  // zr [2 * hidden] becomes z and r.
  void gates(const float* projected, const float* recurrent, float* zr) const {
    const std::span<float> both(zr, 2 * hidden);
    add({projected, 2 * hidden}, {recurrent, 2 * hidden}, both);
    attributes.clip_values(both);
    gate.apply(both);
  }
  // n [hidden] holds what goes into g; h becomes the next state.
  void finish(const float* z, std::span<float> n, float* h) const {
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
      const float* bias = projected_bias(run, e, d, reset_after_);
      const float* projected = project_inputs(run, e, *input->products[d], bias);
      float* state = run.scratch_f32(e.batch * e.hidden);
      load_state(run, 5, e, d, state);
      const bool backwards = attributes_.reverse && (d == 1 || !attributes_.forward);
      const Cell cell{attributes_, attributes_.activations[2 * d],
                      attributes_.activations[2 * d + 1], e.hidden};
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
    const float* given = input_bias(run, e, d);
    const float* candidate_bias = given == nullptr ? nullptr : given + width + 2 * h;
    float* recurrent = run.scratch_f32(e.batch * width);
    float* zr = run.scratch_f32(2 * h);
    const auto advance = [&](const RecurrentStep& step) {
      product.run(step.state, Features::kInner, e.batch, nullptr, recurrent, run.pool());
      for (size_t n = 0; n < e.batch; ++n) {
        const float* x = step.projected[n];
        float* rh = recurrent + n * width;
        const std::span<float> candidate(rh + 2 * h, h);
        cell.gates(x, rh, zr);
        if (candidate_bias != nullptr) add(candidate, {candidate_bias, h}, candidate);
        multiply({zr + h, h}, candidate, candidate);
        add({x + 2 * h, h}, candidate, candidate);
        cell.finish(zr, candidate, step.state + n * h);
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
    float* recurrent = run.scratch_f32(e.batch * 2 * h);
    float* reset = run.scratch_f32(e.batch * h);
    float* sums = run.scratch_f32(e.batch * h);
    const auto advance = [&](const RecurrentStep& step) {
      gates.run(step.state, Features::kInner, e.batch, nullptr, recurrent, run.pool());
      for (size_t n = 0; n < e.batch; ++n) {
        float* zr = recurrent + n * 2 * h;
        cell.gates(step.projected[n], zr, zr);
        multiply({zr + h, h}, {step.state + n * h, h}, {reset + n * h, h});
      }
      candidate.run(reset, Features::kInner, e.batch, nullptr, sums, run.pool());
      for (size_t n = 0; n < e.batch; ++n) {
        const std::span<float> sum(sums + n * h, h);
        add({step.projected[n] + 2 * h, h}, sum, sum);
        cell.finish(recurrent + n * 2 * h, sum, step.state + n * h);
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
