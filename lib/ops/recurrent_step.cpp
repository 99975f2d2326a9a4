#include "lib/ops/recurrent_step.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace espalier {
namespace {

using Kind = AtomRecord::Kind;
using Sum = RecurrentStep::Sum;
using Activation = RecurrentStep::Activation;

// An activation and what it is given.
struct Gate {
  Activation activation;
  Polynomial inside;
};

Polynomial without_number(const Polynomial& a, double& number) {
  Polynomial result = a;
  const auto found = result.terms.find({});
  number = found == result.terms.end() ? 0 : found->second;
  if (found != result.terms.end()) result.terms.erase(found);
  return result;
}

Polynomial divided(Polynomial a, double by) {
  for (auto& [product, coefficient] : a.terms) coefficient /= by;
  return a;
}

// The coefficient that all terms but the number share.
std::optional<double> shared_factor(const Polynomial& a) {
  double number = 0;
  const Polynomial rest = without_number(a, number);
  if (rest.is_zero()) return std::nullopt;
  const double factor = rest.terms.begin()->second;
  const bool same = std::ranges::all_of(
      rest.terms, [&](const auto& term) { return std::abs(term.second - factor) <= 1e-9; });
  return same ? std::optional(factor) : std::nullopt;
}

class Match {
 public:
  Match(const StepFormula& formula, std::span<const StepState> states, int64_t hidden)
      : formula_(formula), states_(states), hidden_(hidden) {}

  std::optional<RecurrentStep> rnn(Atom h, const Polynomial& next) const;
  std::optional<RecurrentStep> gru(Atom h, const Polynomial& next) const;
  std::optional<RecurrentStep> lstm(Atom h, Atom c, const Polynomial& next,
                                    const Polynomial& next_c) const;

 private:
  const AtomRecord& record(Atom atom) const { return formula_.atoms()[atom]; }
  bool is_state(size_t input) const {
    return std::ranges::count(states_, input, &StepState::input) != 0;
  }
  std::vector<Atom> functions_in(const Polynomial& a) const;
  std::optional<Gate> gate(const Polynomial& a) const;
  std::optional<Gate> affine(const Polynomial& a) const;
  std::optional<Sum> sum(const Polynomial& a, Atom h, std::optional<Atom>* reset = nullptr) const;
  bool add_product(Sum& sum, const AtomRecord& product, double scale, Atom h,
                   std::optional<Atom>* reset) const;
  std::optional<Sum> full_sum(const Polynomial& a, Atom h) const;
  bool add_candidate(RecurrentStep& step, const Gate& candidate, Atom h, Gate& reset) const;
  std::vector<Polynomial> candidates(const Polynomial& rest, const Polynomial& z) const;
  RecurrentStep made(std::string op) const;

  const StepFormula& formula_;
  std::span<const StepState> states_;
  int64_t hidden_;
};

RecurrentStep Match::made(std::string op) const {
  RecurrentStep step;
  step.op = std::move(op);
  step.hidden = hidden_;
  return step;
}

// Activations among the factors, each once.
std::vector<Atom> Match::functions_in(const Polynomial& a) const {
  std::vector<Atom> result;
  for (const auto& [product, coefficient] : a.terms) {
    for (const Atom atom : product) {
      const bool is_new = std::ranges::count(result, atom) == 0;
      if (is_new && record(atom).kind == Kind::kFunction) result.push_back(atom);
    }
  }
  return result;
}

// alpha s + beta of a sum that no activation bends.
std::optional<Gate> Match::affine(const Polynomial& a) const {
  double number = 0;
  Polynomial inside = without_number(a, number);
  const bool linear = std::ranges::all_of(inside.terms, [&](const auto& term) {
    return term.first.size() == 1 && record(term.first[0]).kind != Kind::kFunction;
  });
  if (!linear || inside.is_zero()) return std::nullopt;
  const double factor = shared_factor(inside).value_or(1);
  return Gate{{"Affine", factor, number}, divided(std::move(inside), factor)};
}

// Which activation a polynomial is: one function with its factor, 1 - sigmoid, or none at all.
std::optional<Gate> Match::gate(const Polynomial& a) const {
  double number = 0;
  const Polynomial rest = without_number(a, number);
  const bool single = rest.terms.size() == 1 && rest.terms.begin()->first.size() == 1;
  if (!single) return affine(a);
  const auto& [product, factor] = *rest.terms.begin();
  const AtomRecord& function = record(product[0]);
  if (function.kind != Kind::kFunction) return affine(a);
  Gate result{{function.function, function.alpha, function.beta}, function.argument};
  Activation& as = result.activation;
  const bool symmetric =
      as.name == "Sigmoid" || (as.name == "HardSigmoid" && std::abs(as.beta - 0.5) < 1e-6);
  if (number == 1 && factor == -1 && symmetric) {
    result.inside = espalier::sum({}, result.inside, -1);
    return result;
  }
  if (number != 0 || (factor != 1 && as.name != "Tanh")) return std::nullopt;
  if (as.name == "Tanh") {
    const double inner = shared_factor(result.inside).value_or(1);
    const bool scaled = factor != 1 || std::abs(std::abs(inner) - 1) > 1e-9;
    if (scaled) {
      as = {"ScaledTanh", factor, inner};
      result.inside = divided(std::move(result.inside), inner);
    }
  }
  if (as.name == "HardSigmoid") {
    const double inner = shared_factor(result.inside).value_or(1);
    double added = 0;
    if (std::abs(inner) != 1 || result.inside.terms.contains({})) {
      const Polynomial bare = without_number(result.inside, added);
      as.beta += as.alpha * added;
      as.alpha *= inner;
      result.inside = divided(bare, inner);
    }
  }
  return result;
}

// x W or h R; with `reset`, (r h) R too, whose r is told.
bool Match::add_product(Sum& sum, const AtomRecord& product, double scale, Atom h,
                        std::optional<Atom>* reset) const {
  const RecurrentStep::Matrix matrix{product.source, product.columns, product.inputs,
                                     product.transposed, scale};
  if (product.argument.terms.size() != 1) return false;
  const auto& [factors, coefficient] = *product.argument.terms.begin();
  if (coefficient != 1) return false;
  if (factors.size() == 2 && reset != nullptr && !sum.r) {
    const auto other = std::ranges::find_if(factors, [&](Atom one) { return one != h; });
    const bool fits = std::ranges::count(factors, h) == 1 && other != factors.end() &&
                      record(*other).kind == Kind::kFunction;
    if (!fits) return false;
    *reset = *other;
    sum.r = matrix;
    return true;
  }
  if (factors.size() != 1) return false;
  if (factors[0] == h) {
    if (sum.r) return false;
    sum.r = matrix;
    return true;
  }
  const AtomRecord& x = record(factors[0]);
  const bool whole = x.kind == Kind::kInput && !is_state(x.source) && x.columns.begin == 0 &&
                     x.columns.end == formula_.inputs()[x.source].width;
  if (!whole || sum.w) return false;
  sum.w = matrix;
  sum.input = x.source;
  return true;
}

std::optional<Sum> Match::sum(const Polynomial& a, Atom h, std::optional<Atom>* reset) const {
  Sum result;
  for (const auto& [product, coefficient] : a.terms) {
    if (product.empty()) {
      result.number += coefficient;
      continue;
    }
    if (product.size() != 1) return std::nullopt;
    const AtomRecord& atom = record(product[0]);
    if (atom.kind == Kind::kConstant) {
      result.biases.push_back({atom.source, atom.columns, coefficient});
    } else if (atom.kind == Kind::kInput && !is_state(atom.source)) {
      result.x.push_back({atom.source, atom.columns, coefficient});
    } else if (atom.kind != Kind::kProduct || !add_product(result, atom, coefficient, h, reset)) {
      return std::nullopt;
    }
  }
  return result;
}

std::optional<Sum> Match::full_sum(const Polynomial& a, Atom h) const {
  std::optional<Sum> result = sum(a, h);
  if (!result || !result->r || result->w.has_value() == !result->x.empty()) return std::nullopt;
  return result;
}

std::optional<RecurrentStep> Match::rnn(Atom h, const Polynomial& next) const {
  const std::optional<Gate> all = gate(next);
  if (!all) return std::nullopt;
  const std::optional<Sum> inside = full_sum(all->inside, h);
  if (!inside) return std::nullopt;
  RecurrentStep step = made("RNN");
  step.gates = {*inside};
  step.activations = {all->activation};
  return step;
}

// What n may be where rest = (1 - z) n.
std::vector<Polynomial> Match::candidates(const Polynomial& rest, const Polynomial& z) const {
  std::vector<Polynomial> result;
  const Polynomial open = espalier::sum(Polynomial::number(1), z, -1);
  for (const Atom n : functions_in(rest)) {
    const Division by = divide(rest, n);
    const std::optional<double> factor =
        by.rest.is_zero() ? ratio(by.quotient, open) : std::nullopt;
    if (factor) result.push_back(Polynomial::atom(n, *factor));
  }
  if (z.terms.size() == 1 && z.terms.begin()->first.size() == 1) {
    const Polynomial n = divide(rest, z.terms.begin()->first[0]).rest;
    const std::optional<Polynomial> whole = product(open, n);
    if (whole && is_near(*whole, rest)) result.push_back(n);
  }
  return result;
}

// The candidate's sum, with the reset gate where ONNX has it: before or after the product.
bool Match::add_candidate(RecurrentStep& step, const Gate& candidate, Atom h, Gate& reset) const {
  std::optional<Atom> r;
  if (const std::optional<Sum> before = sum(candidate.inside, h, &r); before && r) {
    const std::optional<Gate> opened = gate(Polynomial::atom(*r));
    if (!opened || !before->r || before->w.has_value() == !before->x.empty()) return false;
    step.gates.push_back(*before);
    reset = *opened;
    return true;
  }
  for (const Atom one : functions_in(candidate.inside)) {
    const Division by = divide(candidate.inside, one);
    const std::optional<Sum> x = sum(by.rest, h), held = sum(by.quotient, h);
    const std::optional<Gate> opened = gate(Polynomial::atom(one));
    const bool fits = x && held && opened && !x->r && x->w.has_value() != !x->x.empty() &&
                      held->r && !held->w && held->x.empty();
    if (!fits) continue;
    step.reset_after = true;
    step.gates.push_back(*x);
    step.held = *held;
    reset = *opened;
    return true;
  }
  return false;
}

std::optional<RecurrentStep> Match::gru(Atom h, const Polynomial& next) const {
  const Division by = divide(next, h);
  if (by.quotient.is_zero()) return std::nullopt;
  const std::optional<Gate> z = gate(by.quotient);
  if (!z) return std::nullopt;
  const std::optional<Sum> update = full_sum(z->inside, h);
  if (!update) return std::nullopt;
  for (const Polynomial& n : candidates(by.rest, by.quotient)) {
    const std::optional<Gate> candidate = gate(n);
    RecurrentStep step = made("GRU");
    Gate reset;
    if (!candidate || !add_candidate(step, *candidate, h, reset)) continue;
    const std::optional<Sum> gate = full_sum(reset.inside, h);
    if (!gate || reset.activation != z->activation) continue;
    step.gates = {*update, *gate, step.gates[0]};
    step.activations = {z->activation, candidate->activation};
    return step;
  }
  return std::nullopt;
}

// Takes c' apart into the forget gate's factor of c and i * g, h' into the output gate and the bent
// c'; of i and g with one activation each may be either, and ONNX's order decides.
std::optional<RecurrentStep> Match::lstm(Atom h, Atom c, const Polynomial& next,
                                         const Polynomial& next_c) const {
  const Division by = divide(next_c, c);
  const std::optional<Gate> forget = gate(by.quotient);
  if (!forget) return std::nullopt;
  std::optional<RecurrentStep> swapped;  // where i and g have one activation, either may be either
  for (const Atom bent : functions_in(next)) {
    const Division out = divide(next, bent);
    const std::optional<Gate> cell = gate(Polynomial::atom(bent)), o = gate(out.quotient);
    if (!cell || !o || !out.rest.is_zero() || o->activation != forget->activation ||
        !is_near(cell->inside, next_c)) {
      continue;
    }
    for (const Atom in : functions_in(by.rest)) {
      const Division added = divide(by.rest, in);
      const std::optional<Gate> i = gate(Polynomial::atom(in)), g = gate(added.quotient);
      if (!i || !g || !added.rest.is_zero() || i->activation != forget->activation) continue;
      RecurrentStep step = made("LSTM");
      for (const Gate* gate : {&*i, &*o, &*forget, &*g}) {
        if (const std::optional<Sum> inside = full_sum(gate->inside, h))
          step.gates.push_back(*inside);
      }
      if (step.gates.size() != 4) continue;
      step.activations = {forget->activation, g->activation, cell->activation};
      const auto place = [&](size_t gate) {
        return std::pair(step.gates[gate].r->constant, step.gates[gate].r->outputs.begin);
      };
      if (place(0) < place(3)) return step;
      swapped = std::move(step);
    }
  }
  return swapped;
}

// The atom of a whole state.
std::optional<Atom> state_atom(const StepFormula& formula, size_t input) {
  const StepColumns* columns = formula.find(formula.inputs()[input].value);
  const bool whole = columns != nullptr && columns->pieces.size() == 1 && columns->width() > 0;
  if (!whole) return std::nullopt;
  return columns->pieces[0].formula.terms.begin()->first[0];
}

}  // namespace

std::optional<RecurrentStep> recurrent_step(const StepFormula& formula,
                                            std::span<const StepState> states) {
  std::vector<Atom> atoms;
  std::vector<const Polynomial*> next;
  int64_t hidden = -1;
  for (const StepState& state : states) {
    const std::optional<Atom> atom = state_atom(formula, state.input);
    const StepColumns* becomes = formula.find(state.next);
    if (!atom || becomes == nullptr || becomes->pieces.size() != 1) return std::nullopt;
    const StepInput& input = formula.inputs()[state.input];
    const bool same = becomes->width() == input.width && becomes->rank == input.rank &&
                      becomes->batch == input.batch && (hidden < 0 || hidden == input.width);
    if (!same) return std::nullopt;
    hidden = input.width;
    atoms.push_back(*atom);
    next.push_back(&becomes->pieces[0].formula);
  }
  const Match match(formula, states, hidden);
  std::optional<RecurrentStep> result;
  if (states.size() == 1) {
    result = match.gru(atoms[0], *next[0]);
    if (!result) result = match.rnn(atoms[0], *next[0]);
  }
  for (size_t h = 0; states.size() == 2 && h < 2 && !result; ++h) {
    result = match.lstm(atoms[h], atoms[1 - h], *next[h], *next[1 - h]);
    if (result) result->h = h, result->c = 1 - h;
  }
  return result;
}

ActivationLists activation_lists(const RecurrentStep& step) {
  constexpr std::array kWithAlpha{"Affine",     "LeakyRelu",   "ThresholdedRelu",
                                  "ScaledTanh", "HardSigmoid", "Elu"};
  constexpr std::array kWithBeta{"Affine", "ScaledTanh", "HardSigmoid"};
  ActivationLists result;
  for (const Activation& one : step.activations) {
    result.names.push_back(one.name);
    if (std::ranges::count(kWithAlpha, one.name) != 0)
      result.alpha.push_back(static_cast<float>(one.alpha));
    if (std::ranges::count(kWithBeta, one.name) != 0)
      result.beta.push_back(static_cast<float>(one.beta));
  }
  const std::vector<std::string> usual =
      step.op == "GRU"    ? std::vector<std::string>{"Sigmoid", "Tanh"}
      : step.op == "LSTM" ? std::vector<std::string>{"Sigmoid", "Tanh", "Tanh"}
                          : std::vector<std::string>{"Tanh"};
  result.usual = result.names == usual;
  return result;
}

}  // namespace espalier
