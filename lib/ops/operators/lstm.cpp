// i = f(Wi x + Ri h + Pi * c), f = f(Wf x + Rf h + Pf * c), c' = f * c + i * g(Wc x + Rc h),
// o = f(Wo x + Ro h + Po * c'), h' = o * h(c').        Gates lie as i, o, f, c in W and R, i, o, f
// in P.

#include <algorithm>
#include <functional>

#include "lib/kernels/elementwise/elementwise.h"
#include "lib/kernels/elementwise/recurrent_cell.h"
#include "lib/ops/fold.h"
#include "lib/ops/op_util.h"
#include "lib/ops/recurrent.h"

namespace espalier {
namespace {

constexpr size_t kGates = 4;

std::optional<Fold> fold(const Node&, size_t input, const Shape& shape) {
  return fold_recurrent(kGates, input, shape);
}
bool takes_packed(const Node&, size_t input) { return input == 1 || input == 2; }

std::vector<WeightProducts::Piece> whole(const Fold& fold) {
  return one_piece_per_direction(fold, kGates);
}

const float* peepholes(const RunContext& run, const RecurrentExtents& e, size_t direction) {
  if (!run.has_input(7)) return nullptr;
  const Dims wanted{static_cast<int64_t>(e.directions), static_cast<int64_t>(3 * e.hidden)};
  if (!(run.input(7).dims == wanted)) {
    fail("P is {}, expected {}", to_string(run.input(7).dims), to_string(wanted));
  }
  return f32_of(run, 7) + direction * 3 * e.hidden;
}

struct Cell {
  const RecurrentAttributes& attributes;
  std::span<const Activation> activations;  // f, g, h
  const float* peephole;                    // i, o, f or null
  size_t hidden;
  bool fused;  // sigmoid and tanh, without a clip

  void activate(std::span<float> values, const Activation& activation) const {
    attributes.clip_values(values);
    activation.apply(values);
  }

  // sums [4 * hidden] holds R h + bias and is used up; h and c become the next states.
  // scratch [hidden].
  void advance(const float* projected, float* sums, float* h, float* c, float* scratch) const {
    if (fused) return lstm_cell(hidden, projected, sums, peephole, h, c);
    const size_t n = hidden;
    const std::span<float> i(sums, n), o(sums + n, n), f(sums + 2 * n, n), g(sums + 3 * n, n);
    const std::span<float> state(h, n), cell(c, n), out(scratch, n);
    add({sums, 4 * n}, {projected, 4 * n}, {sums, 4 * n});
    if (peephole == nullptr) {
      // Neighbours i, o, f in one go.
      activate({sums, 3 * n}, activations[0]);
    } else {
      multiply_add({peephole, n}, cell, i);
      multiply_add({peephole + 2 * n, n}, cell, f);
      activate(i, activations[0]);
      activate(f, activations[0]);
    }
    activate(g, activations[1]);
    multiply(f, cell, cell);
    multiply_add(i, g, cell);
    if (peephole != nullptr) {
      multiply_add({peephole + n, n}, cell, o);
      activate(o, activations[0]);
    }
    std::ranges::copy(cell, out.begin());
    activations[2].apply(out);
    multiply(o, out, state);
  }
};

class LstmRun {
 public:
  explicit LstmRun(const PrepareContext& context)
      : attributes_(context.node, {"Sigmoid", "Tanh", "Tanh"}),
        input_(context, 1, whole),
        recurrent_(context, 2, whole) {
    if (int_attribute(context.node, "input_forget", 0) != 0) {
      unsupported("input_forget is not supported");
    }
  }

  void operator()(RunContext& run) const {
    const RecurrentExtents e(run, attributes_, kGates);
    float* y = run.wants_output(0) ? f32_output(run, 0, e.output_dims()) : nullptr;
    float* last = run.wants_output(1) ? f32_output(run, 1, e.state_dims()) : nullptr;
    float* last_cell = run.wants_output(2) ? f32_output(run, 2, e.state_dims()) : nullptr;
    if (e.batch == 0) return;
    const auto input = input_.get(run), recurrent = recurrent_.get(run);
    const size_t width = kGates * e.hidden, state_size = e.batch * e.hidden;
    float* sums = run.scratch_f32(e.batch * width);
    float* scratch = run.scratch_f32(e.hidden);
    for (size_t d = 0; d < e.directions; ++d) {
      const float* projected = project_inputs(run, e, *input->products[d], input_bias(run, e, d));
      const float* bias = recurrent_bias(run, e, d);
      float *h = run.scratch_f32(state_size), *c = run.scratch_f32(state_size);
      load_state(run, 5, e, d, h);
      load_state(run, 6, e, d, c);
      const bool backwards = attributes_.reverse && (d == 1 || !attributes_.forward);
      const auto activations = std::span(attributes_.activations).subspan(3 * d, 3);
      const bool fused = attributes_.clip == 0 &&
                         activations[0].kind == Activation::Kind::kSigmoid &&
                         activations[1].kind == Activation::Kind::kTanh &&
                         activations[2].kind == Activation::Kind::kTanh;
      const Cell cell{attributes_, activations, peepholes(run, e, d), e.hidden, fused};
      const SparseProduct& product = *recurrent->products[d];
      const std::array states{h, c};
      const auto advance = [&](const RecurrentStep& step) {
        product.run(h, Features::kInner, e.batch, bias, sums, run.pool());
        for (size_t n = 0; n < e.batch; ++n) {
          cell.advance(step.projected[n], sums + n * width, h + n * e.hidden, c + n * e.hidden,
                       scratch);
        }
      };
      run_direction(run, e, d, backwards, projected, states, y, std::ref(advance));
      if (last != nullptr) store_state(h, e, d, last);
      if (last_cell != nullptr) store_state(c, e, d, last_cell);
    }
  }

 private:
  RecurrentAttributes attributes_;
  WeightProducts input_, recurrent_;
};

}  // namespace

constinit const Operator lstm_operator{
    .name = "LSTM",
    .fold = fold,
    .takes_packed = takes_packed,
    .prepare = [](const PrepareContext& context) -> Run { return LstmRun(context); },
    .half_as_f32 = true};

}  // namespace espalier
