#include "formats/nnef/read/scan_step.h"

#include "formats/nnef/read/evaluator.h"
#include "formats/nnef/read/producers.h"

namespace espalier::nnef {
namespace {

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

// The body as a graph of its own, whose inputs are its parameters. Each method recognises one part
// of a formula, from the result backwards; nothing is returned where the graph computes something
// else.
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

  ScanStep step() {
    const size_t states = scan_.states.size();
    std::optional<ScanStep> result;
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

  std::optional<GateSum> sum(const TensorRef& tensor) {
    GateSum sum;
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
  std::optional<GateSum> gate(const TensorRef& tensor, std::string_view activation) {
    const Node* node = made_by(tensor, activation);
    if (node == nullptr) return std::nullopt;
    std::optional<GateSum> result = sum({node->inputs[0], nullptr});
    if (!result || !result->x || !result->r) return std::nullopt;
    return result;
  }

  std::optional<ScanStep> rnn(const TensorRef& next) {
    for (const std::string_view activation : {"Tanh", "Sigmoid", "Relu"}) {
      if (const std::optional<GateSum> all = gate(next, activation)) {
        return ScanStep{"RNN", std::string(activation), {*all}, {}};
      }
    }
    return std::nullopt;
  }

  // h' and c' of an LSTM: tract's epilogue over one product, or the formula with a product per
  // gate, whose factors and summands may come in any order.
  std::optional<ScanStep> lstm(const TensorRef& next, const Scan::State& c) {
    const TensorRef next_c = bare(graph_, results_[c.result]);
    const ValueId c_before = inputs_[c.parameter].id;
    if (const Node* cell = producer_of(graph_, next, "tract_core_lstm_epilogue", "nnef")) {
      const bool fits = cell->inputs.size() == 2 && cell->outputs.size() == 2 &&
                        cell->outputs[0] == next.id && cell->outputs[1] == next_c.id &&
                        operand(*cell, 1).id == c_before;
      const std::optional<GateSum> all = fits ? sum({cell->inputs[0], nullptr}) : std::nullopt;
      if (!all || !all->x || !all->r) return std::nullopt;
      return ScanStep{"LSTM", "", {*all}, {}};
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
          if (in && bend && forget && o) return ScanStep{"LSTM", "", {*in, *o, *forget, *bend}, {}};
        }
      }
    }
    return std::nullopt;
  }

  // h' of a GRU: tract's epilogue over one product, or the formula with a product per gate, in any
  // order.
  std::optional<ScanStep> gru(const TensorRef& next) {
    if (const Node* cell = producer_of(graph_, next, "tract_core_gru_epilogue", "nnef")) {
      if (cell->inputs.size() != 3 || operand(*cell, 2).id != h_) return std::nullopt;
      const std::optional<GateSum> all = sum({cell->inputs[0], nullptr}),
                                   held = sum({cell->inputs[1], nullptr});
      if (!all || !held || !all->x || all->r || !held->r || held->x) return std::nullopt;
      return ScanStep{"GRU", "", {*all}, held};
    }
    const Node* next_sum = made_by(next, "Add");
    if (next_sum == nullptr) return std::nullopt;
    for (size_t i = 0; i < 2; ++i) {
      const std::optional<TensorRef> z = other(operand(*next_sum, i), "Mul", h_);
      const Node* rest = made_by(operand(*next_sum, 1 - i), "Mul");
      if (!z || rest == nullptr) continue;
      for (size_t k = 0; k < 2; ++k) {
        if (!is_complement(operand(*rest, k), z->id)) continue;
        const std::optional<GateSum> update = gate(*z, "Sigmoid");
        const Node* bent = made_by(operand(*rest, 1 - k), "Tanh");
        if (!update || bent == nullptr) continue;
        if (std::optional<ScanStep> step = with_reset(*update, {bent->inputs[0], nullptr}))
          return step;
      }
    }
    return std::nullopt;
  }
  // n = tanh(x_n + r (h R_n^T + b))
  std::optional<ScanStep> with_reset(const GateSum& update, const TensorRef& inside) {
    const Node* add = made_by(inside, "Add");
    for (size_t i = 0; add != nullptr && i < 2; ++i) {
      const std::optional<GateSum> x = sum(operand(*add, i));
      const Node* mul = made_by(operand(*add, 1 - i), "Mul");
      if (!x || !x->x || x->r || mul == nullptr) continue;
      for (size_t k = 0; k < 2; ++k) {
        const std::optional<GateSum> reset = gate(operand(*mul, k), "Sigmoid"),
                                     held = sum(operand(*mul, 1 - k));
        if (reset && held && held->r && !held->x)
          return ScanStep{"GRU", "", {update, *reset, *x}, held};
      }
    }
    return std::nullopt;
  }

  const Scan& scan_;
  GraphBuilder graph_;
  std::vector<TensorRef> inputs_, results_;
  ValueId h_ = kNoValue;
};

}  // namespace

ScanStep step_of(const Call& call, const Scan& scan) { return Body(call, scan).step(); }

}  // namespace espalier::nnef
