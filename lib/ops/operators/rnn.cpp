// h' = f(W x + R h + Wb + Rb)

#include "lib/kernels/elementwise/elementwise.h"
#include "lib/ops/fold.h"
#include "lib/ops/op_util.h"
#include "lib/ops/recurrent.h"

namespace espalier {
namespace {

constexpr size_t kGates = 1;

std::optional<Fold> fold(const Node&, size_t input, const Shape& shape) {
  return fold_recurrent(kGates, input, shape);
}
bool takes_packed(const Node&, size_t input) { return input == 1 || input == 2; }

std::vector<WeightProducts::Piece> whole(const Fold& fold) {
  return one_piece_per_direction(fold, kGates);
}

class RnnRun {
 public:
  explicit RnnRun(const PrepareContext& context)
      : attributes_(context.node, {"Tanh"}),
        input_(context, 1, whole),
        recurrent_(context, 2, whole) {}

  void operator()(RunContext& run) const {
    const RecurrentExtents e(run, attributes_, kGates);
    float* y = run.wants_output(0) ? f32_output(run, 0, e.output_dims()) : nullptr;
    float* last = run.wants_output(1) ? f32_output(run, 1, e.state_dims()) : nullptr;
    if (e.batch == 0) return;
    const auto input = input_.get(run), recurrent = recurrent_.get(run);
    const size_t h = e.hidden;
    for (size_t d = 0; d < e.directions; ++d) {
      const float* bias = recurrent_bias(run, e, d);
      const float* projected = project_inputs(run, e, *input->products[d], input_bias(run, e, d));
      float* state = run.scratch_f32(e.batch * h);
      float* sums = run.scratch_f32(e.batch * h);
      load_state(run, 5, e, d, state);
      const bool backwards = attributes_.reverse && (d == 1 || !attributes_.forward);
      const SparseProduct& product = *recurrent->products[d];
      const std::array states{state};
      const auto advance = [&](const RecurrentStep& step) {
        product.run(state, Features::kInner, e.batch, bias, sums, run.pool());
        for (size_t n = 0; n < e.batch; ++n) {
          const std::span<float> next(state + n * h, h);
          add({step.projected[n], h}, {sums + n * h, h}, next);
          attributes_.clip_values(next);
          attributes_.activations[d].apply(next);
        }
      };
      run_direction(run, e, d, backwards, projected, states, y, std::ref(advance));
      if (last != nullptr) store_state(state, e, d, last);
    }
  }

 private:
  RecurrentAttributes attributes_;
  WeightProducts input_, recurrent_;
};

}  // namespace

constinit const Operator rnn_operator{
    .name = "RNN",
    .fold = fold,
    .takes_packed = takes_packed,
    .prepare = [](const PrepareContext& context) -> Run { return RnnRun(context); },
    .half_as_f32 = true};

}  // namespace espalier
