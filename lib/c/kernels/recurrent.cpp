#include <cmath>
#include <optional>
#include <vector>

#include "lib/c/kernels/guard.h"
#include "lib/c/kernels/handles.h"
#include "lib/kernels/recurrent/recurrent.h"
#include "lib/kernels/scratch.h"

struct espalier_recurrent {
  espalier::RecurrentRules rules;
  size_t inputs, hidden;
  std::unique_ptr<const espalier::Product> input, recurrent, candidate;
  std::vector<float> input_bias, recurrent_bias, peephole;
  espalier::Scratch scratch;

  size_t gates() const { return espalier::gates_of(rules.kind); }
  bool lstm() const { return rules.kind == espalier::RecurrentKind::kLstm; }
};

namespace espalier {
namespace {

RecurrentKind kind_of(espalier_cell cell) {
  expect(cell >= ESPALIER_GRU && cell <= ESPALIER_RNN, "cell is {}, expected 0 to 2", cell);
  return cell == ESPALIER_GRU    ? RecurrentKind::kGru
         : cell == ESPALIER_LSTM ? RecurrentKind::kLstm
                                 : RecurrentKind::kRnn;
}

// `fallback` for ESPALIER_NONE.
Activation activation_of(const espalier_activation& given, Activation::Kind fallback) {
  using Kind = Activation::Kind;
  const auto kind = [&]() -> std::optional<Kind> {
    switch (given.kind) {
      case ESPALIER_NONE:
        return fallback;
      case ESPALIER_RELU:
        return Kind::kRelu;
      case ESPALIER_SIGMOID:
        return Kind::kSigmoid;
      case ESPALIER_TANH:
        return Kind::kTanh;
      case ESPALIER_LEAKY_RELU:
        return Kind::kLeakyRelu;
      case ESPALIER_HARD_SIGMOID:
        return Kind::kHardSigmoid;
      case ESPALIER_AFFINE:
        return Kind::kAffine;
      case ESPALIER_THRESHOLDED_RELU:
        return Kind::kThresholdedRelu;
      case ESPALIER_SCALED_TANH:
        return Kind::kScaledTanh;
      case ESPALIER_ELU:
        return Kind::kElu;
      case ESPALIER_SOFTSIGN:
        return Kind::kSoftsign;
      case ESPALIER_SOFTPLUS:
        return Kind::kSoftplus;
      default:
        return std::nullopt;
    }
  }();
  if (!kind)
    throw Error(Fault::kUnsupported,
                fmt::format("activation {} is not one of recurrent layers", given.kind));
  return {*kind, given.alpha, given.beta};
}

RecurrentRules rules_of(const espalier_recurrent_desc& desc) {
  expect(std::isfinite(desc.clip) && desc.clip >= 0, "clip is {}, expected a number from 0 on",
         desc.clip);
  RecurrentRules rules{
      .kind = kind_of(desc.cell), .reset_after = desc.linear_before_reset != 0, .clip = desc.clip};
  const bool rnn = rules.kind == RecurrentKind::kRnn;
  for (size_t i = 0; i < activations_of(rules.kind); ++i)
    rules.activations[i] = activation_of(
        desc.activations[i], i == 0 && !rnn ? Activation::Kind::kSigmoid : Activation::Kind::kTanh);
  return rules;
}

void expect_matrix(const SparseMatrix& weight, size_t gates, size_t hidden, const char* name) {
  expect(weight.fold.parts == gates && weight.fold.rows == hidden,
         "{} has {} parts of [{}, {}], expected {} of {} rows", name, weight.fold.parts,
         weight.fold.rows, weight.fold.cols, gates, hidden);
}

std::vector<float> copy_of(const float* from, size_t count) {
  return from == nullptr ? std::vector<float>() : std::vector<float>(from, from + count);
}

// Checks that the weights fit the kind and each other and prepares their products. Without an input
// weight the layer takes what others have projected.
std::unique_ptr<espalier_recurrent> layer_of(const espalier_recurrent_desc& desc) {
  const bool exact = exact_values(desc.flags, "layer");
  auto layer = std::make_unique<espalier_recurrent>();
  layer->rules = rules_of(desc);
  const size_t gates = layer->gates();
  const SparseMatrix& r = not_null(desc.recurrent_weight, "recurrent_weight").matrix;
  const size_t hidden = layer->hidden = r.fold.cols;
  expect_matrix(r, gates, hidden, "recurrent_weight");
  layer->inputs = gates * hidden;
  if (desc.input_weight != nullptr) {
    const SparseMatrix& w = desc.input_weight->matrix;
    expect_matrix(w, gates, hidden, "input_weight");
    layer->inputs = w.fold.cols;
    layer->input = prepare_sparse(w, /*plain=*/false, exact);
  }
  if (layer->rules.kind == RecurrentKind::kGru && !layer->rules.reset_after) {
    layer->recurrent = prepare_sparse_parts(r, 0, 2, /*plain=*/false, exact);
    layer->candidate = prepare_sparse_parts(r, 2, 1, /*plain=*/false, exact);
  } else {
    layer->recurrent = prepare_sparse(r, /*plain=*/false, exact);
  }
  const size_t width = gates * hidden;
  if (desc.input_weight != nullptr) layer->input_bias = copy_of(desc.bias, width);
  layer->recurrent_bias = copy_of(desc.bias == nullptr ? nullptr : desc.bias + width, width);
  if (layer->lstm()) layer->peephole = copy_of(desc.peephole, 3 * hidden);
  return layer;
}

RecurrentSequences sequences_of(const espalier_sequence_desc& desc, size_t hidden) {
  const bool batch_first = desc.batch_first != 0;
  for (size_t n = 0; desc.lengths != nullptr && n < desc.batch; ++n)
    expect(desc.lengths[n] >= 0 && static_cast<size_t>(desc.lengths[n]) <= desc.steps,
           "sequence {} is {} long, expected 0 to {}", n, desc.lengths[n], desc.steps);
  return {.steps = desc.steps,
          .batch = desc.batch,
          .hidden = hidden,
          .x_step = batch_first ? 1 : desc.batch,
          .x_sequence = batch_first ? desc.steps : 1,
          .y_step = batch_first ? hidden : desc.batch * hidden,
          .y_sequence = batch_first ? desc.steps * hidden : hidden,
          .backwards = desc.backwards != 0,
          .lengths = desc.lengths};
}

const float* data_or_null(const std::vector<float>& values) {
  return values.empty() ? nullptr : values.data();
}

void run(espalier_recurrent& layer, const RecurrentSequences& s, const float* x, float* y, float* h,
         float* c, ThreadPool& pool) {
  const size_t rows = product_of_extents({s.steps, s.batch}, "x");
  product_of_extents({rows, layer.inputs, sizeof(float)}, "x");
  const size_t projected_bytes =
      product_of_extents({rows, layer.gates(), layer.hidden, sizeof(float)}, "x");
  product_of_extents({s.batch, 2 * layer.gates(), layer.hidden, sizeof(float)}, "h");
  if (rows == 0) return;
  not_null(x, "x");
  not_null(h, "h");
  if (layer.lstm()) not_null(c, "c");
  constexpr size_t kLine = kLineBytes / sizeof(float);
  const size_t size = layer.input == nullptr ? 0 : round_up(projected_bytes / sizeof(float), kLine);
  float* const scratch = layer.scratch.floats(size + recurrent_scratch(layer.rules, s));
  if (layer.input != nullptr)
    layer.input->run(x, Features::kInner, rows, data_or_null(layer.input_bias), scratch, pool);
  const RecurrentWeights weights{.recurrent = layer.recurrent.get(),
                                 .candidate = layer.candidate.get(),
                                 .bias = data_or_null(layer.recurrent_bias),
                                 .peephole = data_or_null(layer.peephole)};
  run_recurrent(layer.rules, weights, s, layer.input == nullptr ? x : scratch, h, c, y,
                scratch + size, pool);
}

}  // namespace
}  // namespace espalier

using namespace espalier;

extern "C" {

espalier_status espalier_recurrent_create(const espalier_recurrent_desc* desc,
                                          espalier_recurrent** layer) {
  return guarded([&] {
    espalier_recurrent*& result = not_null(layer, "layer");
    result = nullptr;
    result = layer_of(described(desc, "desc")).release();
  });
}

espalier_status espalier_recurrent_step(espalier_recurrent* layer, const float* x, size_t batch,
                                        float* h, float* c, espalier_pool* pool) {
  return guarded([&] {
    espalier_recurrent& of = not_null(layer, "layer");
    const espalier_sequence_desc one{.size = sizeof one,
                                     .steps = 1,
                                     .batch = batch,
                                     .batch_first = 0,
                                     .backwards = 0,
                                     .lengths = nullptr};
    run(of, sequences_of(one, of.hidden), x, nullptr, h, c, pool_of(pool));
  });
}

espalier_status espalier_recurrent_run(espalier_recurrent* layer,
                                       const espalier_sequence_desc* desc, const float* x, float* y,
                                       float* h, float* c, espalier_pool* pool) {
  return guarded([&] {
    espalier_recurrent& of = not_null(layer, "layer");
    const espalier_sequence_desc& given = described(desc, "desc");
    run(of, sequences_of(given, of.hidden), x, y, h, c, pool_of(pool));
  });
}

size_t espalier_recurrent_bytes(const espalier_recurrent* layer) {
  if (layer == nullptr) return 0;
  size_t sum = 0;
  for (const auto* product : {&layer->input, &layer->recurrent, &layer->candidate})
    sum += *product == nullptr ? 0 : (*product)->bytes();
  return sum;
}

void espalier_recurrent_destroy(espalier_recurrent* layer) { delete layer; }

}  // extern "C"
