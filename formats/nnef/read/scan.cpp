// The body of a scan is run in a graph of its own, and what comes out of it is compared with the
// formula of a step. With s = x + h R^T [+ b], where x = X W^T [+ b] was computed before the loop
// for all steps at once:
//   RNN   h' = a(s)
//   LSTM  h', c' = epilogue(s, c)                       all gates in one product, as tract writes
//   it
//         c' = sigmoid(s_f) c + sigmoid(s_i) tanh(s_g), h' = sigmoid(s_o) tanh(c')
//   GRU   h' = epilogue(x + b, h R^T + b, h)
//         h' = (1 - z) n + z h, z = sigmoid(s_z), n = tanh(x_n + sigmoid(s_r) (h R_n^T + b))
// The second form of each has a product for each gate, as torch_to_nnef writes it.
#include "formats/nnef/read/scan.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/nnef/read/evaluator.h"
#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

using Kind = EvalValue::Kind;

// tract writes names in `scan` as they were before they became identifiers.
std::string as_identifier(std::string name) {
  for (char& c : name) {
    const bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!fine) c = '_';
  }
  return name;
}

// Where the names of a scan's lists stand among parameters or results of its body.
size_t place_of(const Call& call, const std::vector<Parameter>& parameters,
                const std::string& name) {
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (parameters[i].name == name || parameters[i].name == as_identifier(name)) return i;
  }
  call.fail(fmt::format("the body has no {}", printable(name)));
}

// The tuples of one of a scan's lists, each of the given kinds.
std::vector<std::vector<EvalValue>> tuples(const Call& call, std::string_view name,
                                           const std::vector<Kind>& kinds) {
  const EvalValue& list = call.argument(name);
  if (!list.is_list()) call.fail(fmt::format("{} is not an array", name));
  std::vector<std::vector<EvalValue>> result;
  for (const EvalValue& item : *list.items) {
    bool fits = item.is_list() && item.items->size() == kinds.size();
    std::vector<EvalValue> values = fits ? *item.items : std::vector<EvalValue>{};
    for (size_t i = 0; fits && i < kinds.size(); ++i) {
      // A tensor may stand there as numbers.
      if (kinds[i] == Kind::tensor && values[i].kind != Kind::tensor) {
        values[i] = EvalValue::of_tensor(call.as_tensor(values[i], name, DType::kF32));
      }
      fits = values[i].kind == kinds[i];
    }
    if (!fits) call.fail(fmt::format("{} has items that are not the expected tuples", name));
    result.push_back(std::move(values));
  }
  return result;
}

// Reshapes that keep the elements in order do not matter to the formula.
TensorRef bare(const GraphBuilder& graph, TensorRef tensor) {
  for (const Node* node = graph.producer(tensor); node != nullptr; node = graph.producer(tensor)) {
    const bool plain = node->domain.empty() &&
                       (node->op == "Squeeze" || node->op == "Unsqueeze" || node->op == "Reshape");
    if (!plain) break;
    tensor = graph.tensor(node->inputs[0]);
  }
  return tensor;
}

const Node* producer_of(const GraphBuilder& graph, const TensorRef& tensor, std::string_view op,
                        std::string_view domain = "") {
  const Node* node = graph.producer(tensor);
  return node != nullptr && node->op == op && node->domain == domain ? node : nullptr;
}

// The summands of a sum, without reshapes around them.
std::vector<TensorRef> summands(const GraphBuilder& graph, const TensorRef& tensor) {
  std::vector<TensorRef> todo = {tensor}, result;
  while (!todo.empty()) {
    const TensorRef one = bare(graph, todo.back());
    todo.pop_back();
    if (const Node* add = producer_of(graph, one, "Add"); add != nullptr && result.size() < 8) {
      todo.push_back(graph.tensor(add->inputs[1]));
      todo.push_back(graph.tensor(add->inputs[0]));
    } else {
      result.push_back(one);
    }
  }
  return result;
}

// Whether an einsum is h R^T: the last axis of h with the last of R [n, k], the result ends in n.
bool is_product_with_transposed(const std::string& equation) {
  const size_t comma = equation.find(','), arrow = equation.find("->");
  if (comma == std::string::npos || arrow == std::string::npos || arrow < comma) return false;
  const std::string h = equation.substr(0, comma);
  const std::string r = equation.substr(comma + 1, arrow - comma - 1);
  const std::string out = equation.substr(arrow + 2);
  return h.size() >= 2 && r.size() == 2 && out.size() >= 2 && h.back() == r[1] &&
         out.back() == r[0] && r[0] != r[1] && out[out.size() - 2] == h[h.size() - 2];
}

bool is_recurrent_product(const GraphBuilder& graph, const TensorRef& tensor, ValueId h,
                          ValueId r) {
  if (const Node* product = producer_of(graph, tensor, "MatMul")) {
    const Node* turned = producer_of(graph, {product->inputs[1], nullptr}, "Transpose");
    return bare(graph, {product->inputs[0], nullptr}).id == h && turned != nullptr &&
           bare(graph, {turned->inputs[0], nullptr}).id == r;
  }
  const Node* product = producer_of(graph, tensor, "Einsum");
  return product != nullptr && product->inputs.size() == 2 &&
         bare(graph, {product->inputs[0], nullptr}).id == h && product->inputs[1] == r &&
         is_product_with_transposed(string_attribute(*product, "equation", ""));
}

// The lists of the invocation, sorted out.
struct Scan {
  const Fragment* body = nullptr;
  struct Scanned {
    TensorRef tensor;
    size_t parameter;
  };
  std::vector<Scanned> scanned;
  bool reverse = false;
  struct State {
    TensorRef initial;
    size_t parameter, result;
  };
  std::vector<State> states;
  struct Constant {
    TensorRef value;
    size_t parameter;
  };
  std::vector<Constant> constants;
  struct Output {
    size_t result;
    bool full;
  };
  std::vector<Output> outputs;
};

Scan scan_of(const Call& call) {
  Scan scan;
  scan.body = call.reading.fragment(call.text("body"));
  if (scan.body == nullptr || !scan.body->body) {
    call.fail(fmt::format("fragment {} is not defined", printable(call.text("body"))));
  }
  const auto& parameters = scan.body->parameters;
  const auto& results = scan.body->results;
  const auto scanned =
      tuples(call, "scan", {Kind::string, Kind::tensor, Kind::integer, Kind::integer});
  if (scanned.empty() || call.integer("skip") != 0 || call.logical("reset_every_turn") ||
      call.logical("external_state")) {
    throw NotTranslated{};
  }
  const int64_t step = scanned[0][3].integer;
  for (const auto& one : scanned) {
    const bool fits = one[2].integer == 0 && one[3].integer == step && (step == 1 || step == -1);
    if (!fits) throw NotTranslated{};
    scan.scanned.push_back({one[1].tensor, place_of(call, parameters, one[0].text)});
  }
  scan.reverse = step == -1;
  for (const auto& state : tuples(call, "state", {Kind::string, Kind::tensor, Kind::string})) {
    scan.states.push_back({state[1].tensor, place_of(call, parameters, state[0].text),
                           place_of(call, results, state[2].text)});
  }
  for (const auto& constant : tuples(call, "full", {Kind::string, Kind::tensor})) {
    scan.constants.push_back({constant[1].tensor, place_of(call, parameters, constant[0].text)});
  }
  for (const auto& output :
       tuples(call, "output", {Kind::string, Kind::string, Kind::integer, Kind::integer})) {
    const bool full = output[1].text == "full";
    if (full && (output[2].integer != 0 || output[3].integer != step)) throw NotTranslated{};
    scan.outputs.push_back({place_of(call, results, output[0].text), full});
  }
  const size_t wanted = scan.scanned.size() + scan.states.size() + scan.constants.size();
  if (parameters.size() != wanted) throw NotTranslated{};
  return scan;
}

// x + h R^T + biases, of a gate or of all gates at once; parts that are not there are missing.
struct Sum {
  std::optional<size_t> x;  // its place among the scanned tensors
  std::optional<TensorRef> r;
  std::vector<TensorRef> biases;
};

// What the body computes, in terms of what the scan is given.
struct Step {
  std::string op;           // LSTM, GRU, RNN
  std::string activation;   // of an RNN
  std::vector<Sum> gates;   // one of all gates together, or one for each in ONNX's order
  std::optional<Sum> held;  // of a GRU: h R^T + b of the last gate (of all gates), apart from x
  size_t h = 0;             // place of the state that is the output
};

// The body as a graph of its own, whose inputs are its parameters.
class Body {
 public:
  Body(const Call& call, const Scan& scan) : scan_(scan), inputs_(scan.body->parameters.size()) {
    Reading inner{call.reading.document, call.reading.load, graph_, {}, call.reading.fragments};
    const auto input = [&](size_t place, const TensorRef& outer, bool one_step) {
      Shape shape = call.shape(outer);
      if (one_step && !shape.empty()) shape[0] = 1;
      inputs_[place] = {graph_.input("", call.graph.dtype(outer), shape, {}), nullptr};
    };
    for (const Scan::Scanned& one : scan.scanned) input(one.parameter, one.tensor, true);
    for (const Scan::State& state : scan.states) input(state.parameter, state.initial, false);
    for (const Scan::Constant& one : scan.constants) input(one.parameter, one.value, false);
    results_ = Evaluator(inner).results_of(*scan.body, inputs_);
  }

  Step step() {
    const size_t states = scan_.states.size();
    std::optional<Step> result;
    for (size_t h = 0; h < states && !result; ++h) {
      h_ = inputs_[scan_.states[h].parameter].id;
      const TensorRef next = bare(graph_, results_[scan_.states[h].result]);
      if (states == 1) {
        result = gru(next);
        if (!result) result = rnn(next);
      } else if (states == 2) {
        result = lstm(next, scan_.states[1 - h]);
      }
      if (result) result->h = h;
    }
    if (!result) throw NotTranslated{};
    return *std::move(result);
  }

 private:
  TensorRef operand(const Node& node, size_t i) const {
    return bare(graph_, {node.inputs[i], nullptr});
  }
  const Node* made_by(const TensorRef& tensor, std::string_view op, std::string_view domain = "") {
    return producer_of(graph_, bare(graph_, tensor), op, domain);
  }
  // The other operand of `op` with `one` among its two.
  std::optional<TensorRef> other(const TensorRef& tensor, std::string_view op, ValueId one) {
    const Node* node = made_by(tensor, op);
    for (size_t i = 0; node != nullptr && i < 2; ++i) {
      if (operand(*node, i).id == one) return operand(*node, 1 - i);
    }
    return std::nullopt;
  }
  // 1 - z
  bool is_complement(const TensorRef& tensor, ValueId z) {
    const Node* node = made_by(tensor, "Sub");
    if (node == nullptr || operand(*node, 1).id != z) return false;
    const TensorRef one = graph_.tensor(node->inputs[0]);
    const Tensor* value = one.constant == nullptr ? nullptr : one.constant->dense();
    return value != nullptr && value->count() == 1 && is_float(value->dtype()) &&
           to_f32(*value)[0] == 1;
  }

  std::optional<Sum> sum(const TensorRef& tensor) {
    Sum sum;
    for (const TensorRef& part : summands(graph_, tensor)) {
      bool found = false;
      for (size_t i = 0; i < scan_.scanned.size() && !found; ++i) {
        found = part.id == inputs_[scan_.scanned[i].parameter].id && !sum.x;
        if (found) sum.x = i;
      }
      for (const Scan::Constant& constant : scan_.constants) {
        const ValueId id = inputs_[constant.parameter].id;
        if (found) break;
        if (part.id == id) {
          sum.biases.push_back(constant.value);
          found = true;
        } else if (!sum.r && is_recurrent_product(graph_, part, h_, id)) {
          sum.r = constant.value;
          found = true;
        }
      }
      if (!found) return std::nullopt;
    }
    return sum;
  }
  // a(x + h R^T + biases)
  std::optional<Sum> gate(const TensorRef& tensor, std::string_view activation) {
    const Node* node = made_by(tensor, activation);
    if (node == nullptr) return std::nullopt;
    std::optional<Sum> result = sum({node->inputs[0], nullptr});
    if (!result || !result->x || !result->r) return std::nullopt;
    return result;
  }

  std::optional<Step> rnn(const TensorRef& next) {
    for (const std::string_view activation : {"Tanh", "Sigmoid", "Relu"}) {
      if (const std::optional<Sum> all = gate(next, activation)) {
        return Step{"RNN", std::string(activation), {*all}, {}};
      }
    }
    return std::nullopt;
  }

  std::optional<Step> lstm(const TensorRef& next, const Scan::State& c) {
    const TensorRef next_c = bare(graph_, results_[c.result]);
    const ValueId c_before = inputs_[c.parameter].id;
    if (const Node* cell = producer_of(graph_, next, "tract_core_lstm_epilogue", "nnef")) {
      const bool fits = cell->inputs.size() == 2 && cell->outputs.size() == 2 &&
                        cell->outputs[0] == next.id && cell->outputs[1] == next_c.id &&
                        operand(*cell, 1).id == c_before;
      const std::optional<Sum> all = fits ? sum({cell->inputs[0], nullptr}) : std::nullopt;
      if (!all || !all->x || !all->r) return std::nullopt;
      return Step{"LSTM", "", {*all}, {}};
    }
    const Node* out = made_by(next, "Mul");
    const Node* next_sum = made_by(next_c, "Add");
    if (out == nullptr || next_sum == nullptr) return std::nullopt;
    for (size_t i = 0; i < 2; ++i) {
      const Node* bent = made_by(operand(*out, i), "Tanh");
      if (bent == nullptr || operand(*bent, 0).id != next_c.id) continue;
      for (size_t k = 0; k < 2; ++k) {
        const std::optional<TensorRef> kept = other(operand(*next_sum, k), "Mul", c_before);
        const Node* added = made_by(operand(*next_sum, 1 - k), "Mul");
        if (!kept || added == nullptr) continue;
        for (size_t n = 0; n < 2; ++n) {
          const auto in = gate(operand(*added, n), "Sigmoid"),
                     bend = gate(operand(*added, 1 - n), "Tanh"), forget = gate(*kept, "Sigmoid"),
                     o = gate(operand(*out, 1 - i), "Sigmoid");
          if (in && bend && forget && o) return Step{"LSTM", "", {*in, *o, *forget, *bend}, {}};
        }
      }
    }
    return std::nullopt;
  }

  std::optional<Step> gru(const TensorRef& next) {
    if (const Node* cell = producer_of(graph_, next, "tract_core_gru_epilogue", "nnef")) {
      if (cell->inputs.size() != 3 || operand(*cell, 2).id != h_) return std::nullopt;
      const std::optional<Sum> all = sum({cell->inputs[0], nullptr}),
                               held = sum({cell->inputs[1], nullptr});
      if (!all || !held || !all->x || all->r || !held->r || held->x) return std::nullopt;
      return Step{"GRU", "", {*all}, held};
    }
    const Node* next_sum = made_by(next, "Add");
    if (next_sum == nullptr) return std::nullopt;
    for (size_t i = 0; i < 2; ++i) {
      const std::optional<TensorRef> z = other(operand(*next_sum, i), "Mul", h_);
      const Node* rest = made_by(operand(*next_sum, 1 - i), "Mul");
      if (!z || rest == nullptr) continue;
      for (size_t k = 0; k < 2; ++k) {
        if (!is_complement(operand(*rest, k), z->id)) continue;
        const std::optional<Sum> update = gate(*z, "Sigmoid");
        const Node* bent = made_by(operand(*rest, 1 - k), "Tanh");
        if (!update || bent == nullptr) continue;
        if (std::optional<Step> step = with_reset(*update, {bent->inputs[0], nullptr})) return step;
      }
    }
    return std::nullopt;
  }
  // n = tanh(x_n + r (h R_n^T + b))
  std::optional<Step> with_reset(const Sum& update, const TensorRef& inside) {
    const Node* add = made_by(inside, "Add");
    for (size_t i = 0; add != nullptr && i < 2; ++i) {
      const std::optional<Sum> x = sum(operand(*add, i));
      const Node* mul = made_by(operand(*add, 1 - i), "Mul");
      if (!x || !x->x || x->r || mul == nullptr) continue;
      for (size_t k = 0; k < 2; ++k) {
        const std::optional<Sum> reset = gate(operand(*mul, k), "Sigmoid"),
                                 held = sum(operand(*mul, 1 - k));
        if (reset && held && held->r && !held->x)
          return Step{"GRU", "", {update, *reset, *x}, held};
      }
    }
    return std::nullopt;
  }

  const Scan& scan_;
  GraphBuilder graph_;
  std::vector<TensorRef> inputs_, results_;
  ValueId h_ = kNoValue;
};

// X and W where `tensor` [T, N, gates * H] is X W^T, maybe computed with N in front, or with T and
// N as one axis.
struct Projection {
  TensorRef x, w;
};

std::optional<Projection> projection(GraphBuilder& graph, const TensorRef& tensor) {
  bool swapped = false;
  const Node* node = graph.producer(tensor);
  if (node != nullptr && node->op == "Transpose" && node->domain.empty()) {
    if (ints_attribute(*node, "perm", {}) != std::vector<int64_t>{1, 0, 2}) return std::nullopt;
    swapped = true;
    node = graph.producer({node->inputs[0], nullptr});
  }
  bool merged = false;
  if (node != nullptr && node->op == "Reshape" && node->domain.empty() && !swapped) {
    merged = true;
    node = graph.producer({node->inputs[0], nullptr});
  }
  const bool product = node != nullptr && node->domain.empty() && node->inputs.size() == 2 &&
                       (node->op == "MatMul" || (merged && node->op == "Gemm"));
  if (!product) return std::nullopt;
  const bool turned = int_attribute(*node, "transB", 0) != 0;
  TensorRef x = graph.tensor(node->inputs[0]);
  const TensorRef w = graph.tensor(node->inputs[1]);
  if (merged) {
    const Node* merge = producer_of(graph, x, "Reshape");
    if (merge == nullptr) return std::nullopt;
    x = graph.tensor(merge->inputs[0]);
    const std::optional<Shape> from = graph.shape(x), to = graph.shape(tensor);
    const bool same = from && to && from->size() == 3 && to->size() == 3 &&
                      (*from)[0] == (*to)[0] && (*from)[1] == (*to)[1] && (*from)[0] > 0 &&
                      (*from)[1] > 0;
    if (!same) return std::nullopt;
  }
  if (w.constant == nullptr || w.constant->shape.size() != 2 || graph.rank(x) != 3) {
    return std::nullopt;
  }
  return Projection{swapped ? transpose(graph, x, {1, 0, 2}) : x,
                    {kNoValue, turned ? w.constant : transposed(w.constant)}};
}

std::optional<int64_t> one_integer(const GraphBuilder& graph, const Node& node, size_t input) {
  const TensorRef tensor = graph.tensor(node.inputs[input]);
  if (tensor.constant == nullptr || tensor.constant->dense() == nullptr) return std::nullopt;
  const std::vector<int64_t> values = to_i64(*tensor.constant->dense());
  if (values.size() != 1) return std::nullopt;
  return values[0];
}

// B of ONNX where `bias` is the sum of its two halves: then it is a slice of a constant twice.
std::optional<TensorRef> halves_of(const GraphBuilder& graph, const TensorRef& bias, int64_t rows) {
  const Node* add = producer_of(graph, bare(graph, bias), "Add");
  if (add == nullptr) return std::nullopt;
  std::optional<TensorRef> whole;
  for (size_t i = 0; i < 2; ++i) {
    const Node* slice = producer_of(graph, {add->inputs[i], nullptr}, "Slice");
    if (slice == nullptr || slice->inputs.size() != 4) return std::nullopt;
    const TensorRef source = graph.tensor(slice->inputs[0]);
    const int64_t begin = static_cast<int64_t>(i) * rows;
    const bool half = source.constant != nullptr && source.constant->shape == Shape{1, 2 * rows} &&
                      one_integer(graph, *slice, 1) == begin &&
                      one_integer(graph, *slice, 2).value_or(0) >= begin + rows &&
                      one_integer(graph, *slice, 3) == 1;
    const bool fits = half && (i == 1 || one_integer(graph, *slice, 2) == rows) &&
                      (!whole || whole->constant == source.constant);
    if (!fits) return std::nullopt;
    whole = source;
  }
  return whole;
}

// The sum of both biases as the first half, zeros as the second.
std::optional<TensorRef> with_zero_half(const TensorRef& bias, int64_t rows) {
  if (bias.constant == nullptr) return std::nullopt;
  const Tensor* values = bias.constant->dense();
  if (values == nullptr || values->count() != static_cast<size_t>(rows)) return std::nullopt;
  Tensor whole = Tensor::zeros(values->dtype(), {1, 2 * rows});
  std::memcpy(whole.mutable_bytes().data(), values->bytes().data(), values->bytes().size());
  const ConstantPtr constant = make_constant(bias.constant->name, std::move(whole));
  constant->has_label = bias.constant->has_label;
  return TensorRef{kNoValue, constant};
}

// Constants [rows, cols] (extents of 1 in front) below each other; one alone stays what it is.
TensorRef below_each_other(const std::vector<TensorRef>& parts, int64_t rows, int64_t cols) {
  if (parts.size() == 1) return parts[0];
  Tensor whole;
  size_t offset = 0;
  for (const TensorRef& part : parts) {
    const Tensor* dense = part.constant == nullptr ? nullptr : part.constant->dense();
    const bool fits = dense != nullptr && is_float(dense->dtype()) &&
                      dense->count() == element_count(Shape{rows, cols}) &&
                      (offset == 0 || dense->dtype() == whole.dtype());
    if (!fits) throw NotTranslated{};
    if (offset == 0) {
      const auto count = static_cast<int64_t>(parts.size());
      whole = Tensor::zeros(dense->dtype(), {count * rows, cols});
    }
    std::memcpy(whole.mutable_bytes().data() + offset, dense->bytes().data(),
                dense->bytes().size());
    offset += dense->bytes().size();
  }
  const ConstantPtr constant = make_constant(parts[0].constant->name, std::move(whole));
  constant->has_label = parts[0].constant->has_label;
  return {kNoValue, constant};
}

// Adds constants of `rows` elements to `sum`.
void add_biases(const std::vector<TensorRef>& biases, std::span<float> sum) {
  for (const TensorRef& bias : biases) {
    const Tensor* dense = bias.constant == nullptr ? nullptr : bias.constant->dense();
    const bool fits = dense != nullptr && is_float(dense->dtype()) &&
                      (dense->count() == sum.size() || dense->count() == 1);
    if (!fits) throw NotTranslated{};
    const std::vector<float> values = to_f32(*dense);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += values[values.size() == 1 ? 0 : i];
  }
}

// B [2 * gates * H]: what is added to x W^T, and what to h R^T.
TensorRef both_biases(const Step& step, const std::vector<std::vector<TensorRef>>& of_x,
                      int64_t rows, DType dtype) {
  const size_t gates = step.gates.size(), part = static_cast<size_t>(rows) / gates;
  std::vector<float> values(2 * static_cast<size_t>(rows), 0.0F);
  for (size_t i = 0; i < gates; ++i) {
    const std::span<float> sum = std::span(values).subspan(i * part, part);
    add_biases(of_x[i], sum);
    add_biases(step.gates[i].biases, sum);
  }
  if (step.held) {
    const size_t first = static_cast<size_t>(rows) + (gates - 1) * part;
    add_biases(step.held->biases, std::span(values).subspan(first, part));
  }
  return {kNoValue, make_constant("bias", from_f32(values, dtype, {2 * rows}))};
}

}  // namespace

EvalValue read_scan(const Call& call) {
  Scan scan = scan_of(call);
  const Step step = Body(call, scan).step();
  std::rotate(scan.states.begin(), scan.states.begin() + static_cast<ptrdiff_t>(step.h),
              scan.states.end());
  GraphBuilder& graph = call.graph;
  std::vector<TensorRef> recurrent;
  for (const Sum& gate : step.gates) {
    if (gate.r) recurrent.push_back(*gate.r);
  }
  if (step.held) recurrent.push_back(*step.held->r);
  const Shape r_shape = call.shape(recurrent[0]),
              x_shape = call.shape(scan.scanned[*step.gates[0].x].tensor);
  if (r_shape.size() < 2 || x_shape.size() != 3 || r_shape.back() < 1) throw NotTranslated{};
  Recurrence cell;
  cell.op = step.op;
  cell.hidden = r_shape.back();
  cell.reverse = scan.reverse;
  cell.steps = x_shape[0];
  cell.batch = x_shape[1];
  const int64_t rows = cell.hidden * (step.op == "LSTM" ? 4 : step.op == "GRU" ? 3 : 1);
  const int64_t part = rows / static_cast<int64_t>(step.gates.size());
  if (step.op == "GRU") cell.attributes = {attribute("linear_before_reset", int64_t{1})};

  // x = X W^T of each gate, or that and a bias in either order.
  std::vector<TensorRef> inputs, taken_in;
  std::vector<std::vector<TensorRef>> biases;
  for (const Sum& gate : step.gates) {
    const TensorRef& x = scan.scanned[*gate.x].tensor;
    if (call.shape(x).back() != part) throw NotTranslated{};
    std::optional<Projection> projected = projection(graph, x);
    biases.emplace_back();
    if (const Node* add = producer_of(graph, x, "Add"); !projected && add != nullptr) {
      const std::vector<ValueId> operands = add->inputs;
      for (size_t i = 0; i < 2 && !projected; ++i) {
        projected = projection(graph, graph.tensor(operands[i]));
        if (projected) biases.back() = {graph.tensor(operands[1 - i])};
      }
    }
    const bool fits = projected && (inputs.empty() || projected->x.id == cell.x.id);
    if (!fits) throw NotTranslated{};
    cell.x = projected->x;
    inputs.push_back(projected->w);
    taken_in.push_back(x);
  }
  const int64_t width = call.shape(cell.x)[2];
  cell.w = below_each_other(inputs, part, width);
  cell.r = below_each_other(recurrent, part, cell.hidden);
  std::vector<TensorRef> all_biases = biases[0];
  all_biases.insert(all_biases.end(), step.gates[0].biases.begin(), step.gates[0].biases.end());
  if (step.gates.size() > 1 || step.held) {
    cell.b = both_biases(step, biases, rows, call.graph.dtype(cell.x));
  } else if (all_biases.size() == 1) {
    cell.b = halves_of(graph, all_biases[0], rows);
    if (!cell.b) cell.b = with_zero_half(all_biases[0], rows);
    if (!cell.b) throw NotTranslated{};
    taken_in.push_back(all_biases[0]);
  } else if (!all_biases.empty()) {
    throw NotTranslated{};
  }
  for (const Scan::State& state : scan.states) cell.states.push_back(state.initial);
  if (step.op == "RNN" && step.activation != "Tanh") {
    cell.attributes = {attribute("activations", std::vector<std::string>{step.activation})};
  }
  check_weights(call, cell, width);
  for (const Scan::Output& output : scan.outputs) {
    const bool collects_c = output.full && output.result != scan.states[0].result;
    if (collects_c) throw NotTranslated{};
  }
  for (const TensorRef& one : taken_in) graph.allow_drop(one);
  const std::vector<TensorRef> made = make_recurrent(call, cell);

  std::vector<EvalValue> results;
  for (const Scan::Output& output : scan.outputs) {
    TensorRef result = made[0];
    for (size_t i = 0; i < scan.states.size() && !output.full; ++i) {
      if (output.result != scan.states[i].result) continue;
      result = made[i + 1];
      // A state without the axis of directions ends without it.
      if (call.shape(scan.states[i].initial).size() == 2) {
        result = graph.node("Squeeze", {result, graph.integers("axes", {0})},
                            {graph.dtype(result), Shape{cell.batch, cell.hidden}});
      }
    }
    results.push_back(EvalValue::of_tensor(result));
  }
  if (results.size() == 1) return results[0];
  return EvalValue::of_list(EvalValue::Kind::array, std::move(results), call.at);
}

}  // namespace espalier::nnef
