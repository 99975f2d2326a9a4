#include "lib/ops/recurrent.h"

#include <algorithm>
#include <cctype>

#include "lib/ops/fold.h"
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

}  // namespace

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

namespace {

// Copies state (or cell) number `input` of the node, zeros where it is left out, into `to`
// [batch, hidden].
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

// And back into output `y`, laid out as state_dims().
void store_state(const float* from, const RecurrentExtents& e, size_t direction, float* y) {
  for (size_t n = 0; n < e.batch; ++n) {
    std::copy_n(from + n * e.hidden, e.hidden, y + e.state_at(direction, n));
  }
}

// Steps of each sequence; null where the node does not say.
const int32_t* lengths_of(const RunContext& run, const RecurrentExtents& e) {
  if (!run.has_input(4)) return nullptr;
  const TensorView& lengths = run.input(4);
  if (lengths.dtype != DType::kI32) unsupported_type(lengths.dtype);
  const int32_t* values = lengths.data<int32_t>();
  for (size_t n = 0; n < e.batch; ++n) {
    if (values[n] < 0 || static_cast<size_t>(values[n]) > e.steps)
      fail("a sequence has length {}, expected at most {}", values[n], e.steps);
  }
  return values;
}

// W x + bias for all steps, [rows of X, gates * hidden], in scratch memory. bias [gates * hidden]
// or null.
const float* project_inputs(RunContext& run, const RecurrentExtents& e, const Product& weight,
                            const float* bias) {
  const size_t rows = e.steps * e.batch;
  float* projected = run.scratch_f32(rows * e.gates * e.hidden);
  if (rows != 0) weight.run(f32_of(run, 0), Features::kInner, rows, bias, projected, run.pool());
  return projected;
}

// Biases of a direction, of W x and of R h: B holds [Wb, Rb] per direction. Null where the node
// has none.
const float* input_bias(const RunContext& run, const RecurrentExtents& e, size_t direction) {
  if (!run.has_input(3)) return nullptr;
  return f32_of(run, 3) + direction * 2 * e.gates * e.hidden;
}

const float* recurrent_bias(const RunContext& run, const RecurrentExtents& e, size_t direction) {
  const float* given = input_bias(run, e, direction);
  return given == nullptr ? nullptr : given + e.gates * e.hidden;
}

const float* peepholes(const RunContext& run, const RecurrentExtents& e, size_t direction) {
  if (!run.has_input(7)) return nullptr;
  const Dims wanted{static_cast<int64_t>(e.directions), static_cast<int64_t>(3 * e.hidden)};
  if (!(run.input(7).dims == wanted)) {
    fail("P is {}, expected {}", to_string(run.input(7).dims), to_string(wanted));
  }
  return f32_of(run, 7) + direction * 3 * e.hidden;
}

// All gates of a direction at once.
std::vector<WeightProducts::Piece> one_piece_per_direction(const Fold& fold, size_t gates) {
  std::vector<WeightProducts::Piece> pieces;
  for (size_t first = 0; first < fold.parts; first += gates) pieces.push_back({first, gates});
  return pieces;
}

template <size_t kGates>
std::vector<WeightProducts::Piece> whole(const Fold& fold) {
  return one_piece_per_direction(fold, kGates);
}

WeightProducts::Pieces whole_of(RecurrentKind kind) {
  return kind == RecurrentKind::kGru    ? whole<3>
         : kind == RecurrentKind::kLstm ? whole<4>
                                        : whole<1>;
}

// z and r together, then the candidate, which waits for r.
std::vector<WeightProducts::Piece> gates_and_candidate(const Fold& fold) {
  std::vector<WeightProducts::Piece> pieces;
  for (size_t first = 0; first < fold.parts; first += 3) {
    pieces.push_back({first, 2});
    pieces.push_back({first + 2, 1});
  }
  return pieces;
}

std::vector<std::string> default_activations(RecurrentKind kind) {
  if (kind == RecurrentKind::kGru) return {"Sigmoid", "Tanh"};
  if (kind == RecurrentKind::kLstm) return {"Sigmoid", "Tanh", "Tanh"};
  return {"Tanh"};
}

RecurrentSequences sequences_of(const RunContext& run, const RecurrentExtents& e, bool backwards) {
  return {.steps = e.steps,
          .batch = e.batch,
          .hidden = e.hidden,
          .x_step = e.batch_first ? 1 : e.batch,
          .x_sequence = e.batch_first ? e.steps : 1,
          .y_step = e.output_at(1, 0, 0),
          .y_sequence = e.output_at(0, 0, 1),
          .backwards = backwards,
          .lengths = lengths_of(run, e)};
}

}  // namespace

RecurrentRun::RecurrentRun(const PrepareContext& context, RecurrentKind kind, bool reset_after)
    : kind_(kind),
      reset_after_(reset_after),
      apart_(kind == RecurrentKind::kGru && !reset_after),
      stream_(stream_of(context, kind)),
      attributes_(context.node, default_activations(kind)),
      input_(context, 1, whole_of(kind)),
      recurrent_(context, 2, apart_ ? gates_and_candidate : whole_of(kind)) {}

std::shared_ptr<RecurrentRun::Stream> RecurrentRun::stream_of(const PrepareContext& context,
                                                              RecurrentKind kind) {
  if (context.stream == nullptr) return nullptr;
  const auto begins_at_zero = [&](size_t input) {
    if (!context.names_input(input)) return true;
    const Weight* state = context.constant(input);
    return state != nullptr && !state->is_sparse() &&
           std::ranges::all_of(to_f32(state->dense()), [](float value) { return value == 0; });
  };
  if (!begins_at_zero(5) || (kind == RecurrentKind::kLstm && !begins_at_zero(6))) return nullptr;
  if (string_attribute(context.node, "direction", "forward") != "forward")
    unsupported("a layer that runs backwards cannot go on from run to run");
  auto stream = std::make_shared<Stream>();
  stream->number = context.stream;
  stream->seen = *context.stream;
  return stream;
}

void RecurrentRun::load(const RunContext& run, const RecurrentExtents& e, size_t d, float* h,
                        float* c) const {
  const bool goes_on =
      stream_ != nullptr && !stream_->h.empty() && stream_->seen == *stream_->number;
  if (!goes_on) {
    load_state(run, 5, e, d, h);
    if (c != nullptr) load_state(run, 6, e, d, c);
    return;
  }
  if (stream_->h.size() != e.batch * e.hidden)
    fail("{} sequences go on from {}", e.batch, stream_->h.size() / e.hidden);
  std::ranges::copy(stream_->h, h);
  if (c != nullptr) std::ranges::copy(stream_->c, c);
}

void RecurrentRun::store(const float* h, const float* c, size_t count) const {
  if (stream_ == nullptr) return;
  stream_->seen = *stream_->number;
  stream_->h.assign(h, h + count);
  if (c != nullptr) stream_->c.assign(c, c + count);
}

RecurrentRules RecurrentRun::rules(size_t direction) const {
  RecurrentRules rules{.kind = kind_, .reset_after = reset_after_, .clip = attributes_.clip};
  const size_t count = activations_of(kind_);
  std::copy_n(attributes_.activations.begin() + static_cast<ptrdiff_t>(direction * count), count,
              rules.activations.begin());
  return rules;
}

RecurrentWeights RecurrentRun::weights(const RunContext& run, const RecurrentExtents& e, size_t d,
                                       const WeightProducts::Made& made) const {
  return {.recurrent = made.products[apart_ ? 2 * d : d].get(),
          .candidate = apart_ ? made.products[2 * d + 1].get() : nullptr,
          .bias = recurrent_bias(run, e, d),
          .peephole = kind_ == RecurrentKind::kLstm ? peepholes(run, e, d) : nullptr};
}

void RecurrentRun::operator()(RunContext& run) const {
  const RecurrentExtents e(run, attributes_, gates_of(kind_));
  const bool lstm = kind_ == RecurrentKind::kLstm;
  float* y = run.wants_output(0) ? f32_output(run, 0, e.output_dims()) : nullptr;
  float* last = run.wants_output(1) ? f32_output(run, 1, e.state_dims()) : nullptr;
  float* last_cell = lstm && run.wants_output(2) ? f32_output(run, 2, e.state_dims()) : nullptr;
  if (e.batch == 0) return;
  const auto input = input_.get(run), recurrent = recurrent_.get(run);
  for (size_t d = 0; d < e.directions; ++d) {
    const float* projected = project_inputs(run, e, *input->products[d], input_bias(run, e, d));
    float* h = run.scratch_f32(e.batch * e.hidden);
    float* c = lstm ? run.scratch_f32(e.batch * e.hidden) : nullptr;
    load(run, e, d, h, c);
    const bool backwards = attributes_.reverse && (d == 1 || !attributes_.forward);
    const RecurrentRules rules = this->rules(d);
    const RecurrentSequences sequences = sequences_of(run, e, backwards);
    float* const scratch = run.scratch_f32(recurrent_scratch(rules, sequences));
    run_recurrent(rules, weights(run, e, d, *recurrent), sequences, projected, h, c,
                  y == nullptr ? nullptr : y + e.output_at(0, d, 0), scratch, run.pool());
    store(h, c, e.batch * e.hidden);
    if (last != nullptr) store_state(h, e, d, last);
    if (last_cell != nullptr) store_state(c, e, d, last_cell);
  }
}

}  // namespace espalier
