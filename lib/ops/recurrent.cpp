#include "lib/ops/recurrent.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "lib/kernels/elementwise/elementwise.h"
#include "lib/ops/op_util.h"

namespace espalier {
namespace {

struct KindRecord {
  const char* name;
  Activation::Kind kind;
  std::optional<float> alpha, beta;  // defaults, where the activation has the parameter
};

// ONNX, RNN: "activations", with the defaults of the operators of those names.
const std::array<KindRecord, 11>& kinds() {
  using Kind = Activation::Kind;
  static const std::array<KindRecord, 11> kKinds{{
      {"sigmoid", Kind::kSigmoid, {}, {}},
      {"tanh", Kind::kTanh, {}, {}},
      {"relu", Kind::kRelu, {}, {}},
      {"affine", Kind::kAffine, 1.0F, 0.0F},
      {"leakyrelu", Kind::kLeakyRelu, 0.01F, {}},
      {"thresholdedrelu", Kind::kThresholdedRelu, 1.0F, {}},
      {"scaledtanh", Kind::kScaledTanh, 1.0F, 1.0F},
      {"hardsigmoid", Kind::kHardSigmoid, 0.2F, 0.5F},
      {"elu", Kind::kElu, 1.0F, {}},
      {"softsign", Kind::kSoftsign, {}, {}},
      {"softplus", Kind::kSoftplus, {}, {}},
  }};
  return kKinds;
}

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

// alpha and beta are lists that only the activations which have the parameter draw from.
std::vector<Activation> activations_of(const Node& node, const std::vector<std::string>& names) {
  const std::vector<float> alphas = floats_attribute(node, "activation_alpha", {});
  const std::vector<float> betas = floats_attribute(node, "activation_beta", {});
  size_t next_alpha = 0, next_beta = 0;
  std::vector<Activation> result;
  for (const std::string& name : names) {
    const auto& known = kinds();
    const auto found = std::ranges::find_if(
        known, [key = lower(name)](const KindRecord& record) { return key == record.name; });
    if (found == known.end()) unsupported("activation {} is not supported", printable(name));
    Activation activation{found->kind, 0, 0};
    if (found->alpha) {
      activation.alpha = next_alpha < alphas.size() ? alphas[next_alpha++] : *found->alpha;
    }
    if (found->beta) {
      activation.beta = next_beta < betas.size() ? betas[next_beta++] : *found->beta;
    }
    result.push_back(activation);
  }
  return result;
}

template <typename Function>
void each(std::span<float> values, const Function& function) {
  for (float& value : values) value = function(value);
}

}  // namespace

void Activation::apply(std::span<float> v) const {
  const float a = alpha, b = beta;
  switch (kind) {
    case Kind::kSigmoid:
      return sigmoid(v, v);
    case Kind::kTanh:
      return tanh(v, v);
    case Kind::kRelu:
      return relu(v, v);
    case Kind::kAffine:
      return each(v, [=](float x) { return a * x + b; });
    case Kind::kLeakyRelu:
      return each(v, [=](float x) { return x < 0 ? a * x : x; });
    case Kind::kThresholdedRelu:
      return each(v, [=](float x) { return x > a ? x : 0; });
    case Kind::kScaledTanh:
      return each(v, [=](float x) { return a * std::tanh(b * x); });
    case Kind::kHardSigmoid:
      return each(v, [=](float x) { return std::clamp(a * x + b, 0.0F, 1.0F); });
    case Kind::kElu:
      return each(v, [=](float x) { return x < 0 ? a * std::expm1(x) : x; });
    case Kind::kSoftsign:
      return each(v, [](float x) { return x / (1 + std::fabs(x)); });
    case Kind::kSoftplus:
      return each(v,
                  [](float x) { return std::max(x, 0.0F) + std::log1p(std::exp(-std::fabs(x))); });
  }
}

RecurrentAttributes::RecurrentAttributes(const Node& node,
                                         const std::vector<std::string>& defaults) {
  const std::string direction = string_attribute(node, "direction", "forward");
  if (direction != "forward" && direction != "reverse" && direction != "bidirectional") {
    unsupported("direction {} is not supported", printable(direction));
  }
  forward = direction != "reverse";
  reverse = direction != "forward";
  batch_first = int_attribute(node, "layout", 0) != 0;
  clip = float_attribute(node, "clip", 0);
  hidden_size = int_attribute(node, "hidden_size", 0);
  std::vector<std::string> names = strings_attribute(node, "activations", {});
  if (names.empty()) {
    for (size_t d = 0; d < directions(); ++d) {
      names.insert(names.end(), defaults.begin(), defaults.end());
    }
  }
  if (names.size() != defaults.size() * directions()) {
    fail("{} activations, expected {}", names.size(), defaults.size() * directions());
  }
  activations = activations_of(node, names);
}

void RecurrentAttributes::clip_values(std::span<float> values) const {
  if (clip > 0) each(values, [c = clip](float x) { return std::clamp(x, -c, c); });
}

RecurrentExtents::RecurrentExtents(const RunContext& run, const RecurrentAttributes& attributes,
                                   size_t gates)
    : gates(gates), directions(attributes.directions()), batch_first(attributes.batch_first) {
  const Dims &x = run.input(0).dims, &w = run.input(1).dims, &r = run.input(2).dims;
  if (x.rank() != 3 || w.rank() != 3 || r.rank() != 3) {
    fail("X {}, W {}, R {}: expected three axes each", to_string(x), to_string(w), to_string(r));
  }
  steps = static_cast<size_t>(x[batch_first ? 1 : 0]);
  batch = static_cast<size_t>(x[batch_first ? 0 : 1]);
  inputs = static_cast<size_t>(x[2]);
  hidden = static_cast<size_t>(r[2]);
  const auto d = static_cast<int64_t>(directions), g = static_cast<int64_t>(gates * hidden);
  const bool named = attributes.hidden_size == 0 || attributes.hidden_size == r[2];
  if (!named || !(w == Dims{d, g, x[2]}) || !(r == Dims{d, g, r[2]}) || hidden == 0 ||
      inputs == 0) {
    fail("X {}, W {}, R {} do not match each other, {} directions and {} gates", to_string(x),
         to_string(w), to_string(r), directions, gates);
  }
  if (run.has_input(3) && !(run.input(3).dims == Dims{d, 2 * g})) {
    fail("B is {}, expected [{}, {}]", to_string(run.input(3).dims), d, 2 * g);
  }
  if (run.has_input(4) && run.input(4).count() != batch) {
    fail("{} sequence lengths for {} sequences", run.input(4).count(), batch);
  }
}

size_t RecurrentExtents::output_at(size_t step, size_t direction, size_t sequence) const {
  return batch_first ? ((sequence * steps + step) * directions + direction) * hidden
                     : ((step * directions + direction) * batch + sequence) * hidden;
}

size_t RecurrentExtents::state_at(size_t direction, size_t sequence) const {
  return batch_first ? (sequence * directions + direction) * hidden
                     : (direction * batch + sequence) * hidden;
}

Dims RecurrentExtents::output_dims() const {
  const auto t = static_cast<int64_t>(steps), d = static_cast<int64_t>(directions);
  const auto n = static_cast<int64_t>(batch), h = static_cast<int64_t>(hidden);
  return batch_first ? Dims{n, t, d, h} : Dims{t, d, n, h};
}

Dims RecurrentExtents::state_dims() const {
  const auto d = static_cast<int64_t>(directions), n = static_cast<int64_t>(batch);
  const auto h = static_cast<int64_t>(hidden);
  return batch_first ? Dims{n, d, h} : Dims{d, n, h};
}

void load_state(const RunContext& run, size_t input, const RecurrentExtents& e, size_t direction,
                float* to) {
  if (!run.has_input(input)) {
    std::fill_n(to, e.batch * e.hidden, 0.0F);
    return;
  }
  if (!(run.input(input).dims == e.state_dims())) {
    fail("an initial state is {}, expected {}", to_string(run.input(input).dims),
         to_string(e.state_dims()));
  }
  const float* from = f32_of(run, input);
  for (size_t n = 0; n < e.batch; ++n) {
    std::copy_n(from + e.state_at(direction, n), e.hidden, to + n * e.hidden);
  }
}

void store_state(const float* from, const RecurrentExtents& e, size_t direction, float* y) {
  for (size_t n = 0; n < e.batch; ++n) {
    std::copy_n(from + n * e.hidden, e.hidden, y + e.state_at(direction, n));
  }
}

namespace {

// Steps of each sequence; all of them where the node does not say.
size_t length_of(const RunContext& run, const RecurrentExtents& e, size_t sequence) {
  if (!run.has_input(4)) return e.steps;
  const TensorView& lengths = run.input(4);
  if (lengths.dtype != DType::kI32) unsupported_type(lengths.dtype);
  const int32_t length = lengths.data<int32_t>()[sequence];
  if (length < 0 || static_cast<size_t>(length) > e.steps) {
    fail("a sequence has length {}, expected at most {}", length, e.steps);
  }
  return static_cast<size_t>(length);
}

}  // namespace

void run_direction(RunContext& run, const RecurrentExtents& e, size_t direction, bool backwards,
                   const float* projected, std::span<float* const> states, float* y,
                   const std::function<void(const RecurrentStep&)>& advance) {
  const size_t width = e.gates * e.hidden, state_size = e.batch * e.hidden;
  auto* lengths = reinterpret_cast<size_t*>(run.scratch(e.batch * sizeof(size_t)));
  auto* rows = reinterpret_cast<const float**>(run.scratch(e.batch * sizeof(const float*)));
  bool ragged = false;
  for (size_t n = 0; n < e.batch; ++n) {
    lengths[n] = length_of(run, e, n);
    ragged |= lengths[n] != e.steps;
  }
  float* saved = ragged ? run.scratch_f32(states.size() * state_size) : nullptr;
  for (size_t step = 0; step < e.steps; ++step) {
    const auto time = [&](size_t n) { return backwards ? lengths[n] - 1 - step : step; };
    for (size_t n = 0; n < e.batch; ++n) {
      rows[n] = projected + e.row(step < lengths[n] ? time(n) : 0, n) * width;
    }
    for (size_t s = 0; ragged && s < states.size(); ++s) {
      std::copy_n(states[s], state_size, saved + s * state_size);
    }
    advance({e.batch, e.hidden, rows, states[0]});
    for (size_t n = 0; n < e.batch; ++n) {
      if (step < lengths[n]) {
        if (y == nullptr) continue;
        std::copy_n(states[0] + n * e.hidden, e.hidden, y + e.output_at(time(n), direction, n));
        continue;
      }
      for (size_t s = 0; s < states.size(); ++s) {
        std::copy_n(saved + s * state_size + n * e.hidden, e.hidden, states[s] + n * e.hidden);
      }
      if (y != nullptr) std::fill_n(y + e.output_at(step, direction, n), e.hidden, 0.0F);
    }
  }
}

std::vector<WeightProducts::Piece> one_piece_per_direction(const Fold& fold, size_t gates) {
  std::vector<WeightProducts::Piece> pieces;
  for (size_t first = 0; first < fold.parts; first += gates) pieces.push_back({first, gates});
  return pieces;
}

const float* project_inputs(RunContext& run, const RecurrentExtents& e, const SparseProduct& weight,
                            const float* bias) {
  const size_t rows = e.steps * e.batch;
  float* projected = run.scratch_f32(rows * e.gates * e.hidden);
  if (rows != 0) weight.run(f32_of(run, 0), Features::kInner, rows, bias, projected, run.pool());
  return projected;
}

const float* input_bias(const RunContext& run, const RecurrentExtents& e, size_t direction) {
  if (!run.has_input(3)) return nullptr;
  return f32_of(run, 3) + direction * 2 * e.gates * e.hidden;
}

const float* recurrent_bias(const RunContext& run, const RecurrentExtents& e, size_t direction) {
  const float* given = input_bias(run, e, direction);
  return given == nullptr ? nullptr : given + e.gates * e.hidden;
}

}  // namespace espalier
