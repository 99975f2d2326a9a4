// Operators of a step on rows of vectors.

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "lib/ops/step_formula.h"

namespace espalier {
namespace {

// Activations of one input and without a name of their own; alpha and beta with ONNX's defaults.
struct Function {
  std::string_view op;
  double alpha, beta;
};
constexpr std::array<Function, 9> kFunctions{{{"Sigmoid", 0, 0},
                                              {"Tanh", 0, 0},
                                              {"Relu", 0, 0},
                                              {"LeakyRelu", 0.01, 0},
                                              {"ThresholdedRelu", 1, 0},
                                              {"Elu", 1, 0},
                                              {"HardSigmoid", 0.2, 0.5},
                                              {"Softsign", 0, 0},
                                              {"Softplus", 0, 0}}};

// Where an axis counted from the front is among those counted from the end.
size_t from_end(size_t rank, int64_t axis) {
  return rank - static_cast<size_t>(axis < 0 ? axis + static_cast<int64_t>(rank) : axis);
}

bool is_axis(int64_t axis, size_t rank) {
  const auto count = static_cast<int64_t>(rank);
  return axis >= -count && axis < count;
}

}  // namespace

// The operators of one output that steps are spelled in; all of them take columns first, but for
// those that commute.
StepFormula::Columns StepFormula::of_node(const Node& node) {
  const std::string& op = node.op;
  if (op == "Add" || op == "Sub" || op == "Mul" || op == "Div" || op == "Sum")
    return arithmetic(node);
  if (op == "MatMul") return matmul(node);
  if (op == "Gemm") return gemm(node);
  if (op == "Einsum") return einsum(node);
  if (op == "Concat") return concat(node);
  const StepColumns* x = columns(node, 0);
  if (op == "Max" && x == nullptr) x = columns(node, 1);
  if (x == nullptr) return std::nullopt;
  if (op == "Identity" || (op == "Dropout" && node.inputs.size() == 1)) return *x;
  if (op == "Cast") {
    const bool same = dtype_ == DType::kF32   ? int_attribute(node, "to", 0) == 1
                      : dtype_ == DType::kF16 ? int_attribute(node, "to", 0) == 10
                                              : false;
    return same ? Columns(*x) : std::nullopt;
  }
  if (op == "Neg") return scaled(*x, -1);
  if (op == "Slice") return slice(node);
  if (op == "Squeeze") return squeeze(node);
  if (op == "Unsqueeze") return unsqueeze(node);
  if (op == "Reshape") return reshape(node);
  if (op == "Transpose") return transpose(node);
  if (op == "Clip") return clip(node);
  if (op == "Max" && node.inputs.size() == 2)
    return number(node, 0) == 0.0 || number(node, 1) == 0.0 ? applied(*x, "Relu") : std::nullopt;
  return activation(node);
}

StepFormula::Columns StepFormula::scaled(const StepColumns& a, double factor, double added) const {
  StepColumns result = a;
  for (StepColumns::Piece& piece : result.pieces)
    piece.formula = sum(Polynomial::number(added), piece.formula, factor);
  return result;
}

StepColumns StepFormula::part(const StepColumns& whole, int64_t begin, int64_t end) {
  StepColumns result{{}, whole.rank, whole.batch};
  int64_t at = 0;
  for (const StepColumns::Piece& piece : whole.pieces) {
    const int64_t from = std::max(begin, at), to = std::min(end, at + piece.width);
    if (from < to) {
      const bool all = to - from == piece.width;
      result.pieces.push_back(
          {to - from, all ? piece.formula : atoms_.columns(piece.formula, {from - at, to - at})});
    }
    at += piece.width;
  }
  return result;
}

// A constant next to `like`, a bias: one row for all.
StepFormula::Columns StepFormula::vector_operand(const Node& node, size_t input,
                                                 const StepColumns& like) {
  const View* found = input < node.inputs.size() ? view(node.inputs[input]) : nullptr;
  if (found == nullptr) return std::nullopt;
  const View by = *found;
  const Shape& shape = constants_[by.constant].shape;
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  const bool row = !shape.empty() && !by.transposed && shape.back() == count && count > 0;
  if (!row) return std::nullopt;
  AtomRecord record;
  record.kind = AtomRecord::Kind::kConstant;
  record.source = by.constant;
  record.columns = shape.size() > 1 ? by.columns : ColumnRange{0, count};
  if (record.columns.size() != like.width()) return std::nullopt;
  const int64_t width = record.columns.size();
  return StepColumns{{{width, Polynomial::atom(atoms_.add(std::move(record)))}},
                     std::max(like.rank, shape.size()),
                     like.batch};
}

// Add, Sub, Mul, Div and Sum of two, one of them columns.
StepFormula::Columns StepFormula::arithmetic(const Node& node) {
  if (node.inputs.size() != 2) return std::nullopt;
  const StepColumns *a = columns(node, 0), *b = columns(node, 1);
  if (a != nullptr && b != nullptr) return combined(node, *a, *b);
  const StepColumns* one = a != nullptr ? a : b;
  if (one == nullptr) return std::nullopt;
  const StepColumns like = *one;
  const size_t other = a != nullptr ? 1 : 0;
  if (const std::optional<double> value = number(node, other)) {
    StepColumns result = like;
    result.rank = std::max(like.rank, dense(node.inputs[other])->shape().size());
    if (node.op == "Add" || node.op == "Sum") return scaled(result, 1, *value);
    if (node.op == "Mul") return scaled(result, *value);
    if (node.op == "Sub")
      return other == 1 ? scaled(result, 1, -*value) : scaled(result, -1, *value);
    return other == 1 && *value != 0 ? scaled(result, 1 / *value) : std::nullopt;
  }
  const Columns row = vector_operand(node, other, like);
  if (!row) return std::nullopt;
  return other == 1 ? combined(node, like, *row) : combined(node, *row, like);
}

// Both sides cut where either is.
StepFormula::Columns StepFormula::combined(const Node& node, const StepColumns& a,
                                           const StepColumns& b) {
  if (a.width() != b.width() || a.batch != b.batch) return std::nullopt;
  StepColumns result{{}, std::max(a.rank, b.rank), a.batch};
  size_t i = 0, k = 0;
  int64_t in_a = 0, in_b = 0;  // columns of the pieces that are done
  while (i < a.pieces.size() && k < b.pieces.size()) {
    const StepColumns::Piece &left = a.pieces[i], &right = b.pieces[k];
    const int64_t width = std::min(left.width - in_a, right.width - in_b);
    if (width < 0) return std::nullopt;
    const auto cut = [&](const StepColumns::Piece& piece, int64_t from) {
      return width == piece.width ? piece.formula
                                  : atoms_.columns(piece.formula, {from, from + width});
    };
    const Polynomial x = cut(left, in_a), y = cut(right, in_b);
    std::optional<Polynomial> made;
    if (node.op == "Mul") {
      made = product(x, y);
    } else if (node.op != "Div") {
      made = sum(x, y, node.op == "Sub" ? -1 : 1);
    }
    if (!made) return std::nullopt;
    result.pieces.push_back({width, *std::move(made)});
    if ((in_a += width) == left.width) ++i, in_a = 0;
    if ((in_b += width) == right.width) ++k, in_b = 0;
  }
  return result;
}

StepFormula::Columns StepFormula::applied(const StepColumns& to, const std::string& function,
                                          double alpha, double beta) {
  StepColumns result = to;
  for (StepColumns::Piece& piece : result.pieces) {
    AtomRecord record;
    record.kind = AtomRecord::Kind::kFunction;
    record.function = function;
    record.alpha = alpha;
    record.beta = beta;
    record.argument = piece.formula;
    piece.formula = Polynomial::atom(atoms_.add(std::move(record)));
  }
  return result;
}

StepFormula::Columns StepFormula::activation(const Node& node) {
  const auto found = std::ranges::find(kFunctions, node.op, &Function::op);
  const StepColumns* x = columns(node, 0);
  if (found == kFunctions.end() || x == nullptr) return std::nullopt;
  const auto parameter = [&](const char* name, double usual) -> double {
    return usual == 0 && found->alpha == 0 ? 0
                                           : float_attribute(node, name, static_cast<float>(usual));
  };
  const double beta = found->beta == 0 ? 0 : parameter("beta", found->beta);
  return applied(*x, node.op, parameter("alpha", found->alpha), beta);
}

// Relu, or low + (high - low) HardSigmoid.
StepFormula::Columns StepFormula::clip(const Node& node) {
  const StepColumns* x = columns(node, 0);
  const auto bound = [&](const char* name, size_t input, double none) -> std::optional<double> {
    if (find_attribute(node, name) != nullptr) return float_attribute(node, name, 0);
    const bool given = input < node.inputs.size() && node.inputs[input] != kNoValue;
    return given ? number(node, input) : std::optional(none);
  };
  constexpr double kNone = std::numeric_limits<float>::max();
  const auto low = bound("min", 1, -kNone), high = bound("max", 2, kNone);
  if (x == nullptr || !low || !high) return std::nullopt;
  if (*low == 0 && *high >= kNone) return applied(*x, "Relu");
  const double width = *high - *low;
  if (!(width > 0) || *low <= -kNone || *high >= kNone) return std::nullopt;
  const Columns made = applied(*x, "HardSigmoid", 1 / width, -*low / width);
  return scaled(*made, width, *low);
}

StepFormula::Columns StepFormula::matmul(const Node& node) {
  const StepColumns* x = columns(node, 0);
  if (x == nullptr || node.inputs.size() != 2) return std::nullopt;
  return multiplied(StepColumns(*x), node.inputs[1], false, 1);
}

// alpha x B + beta C, C a row or columns.
StepFormula::Columns StepFormula::gemm(const Node& node) {
  const StepColumns* x = columns(node, 0);
  const bool fits = x != nullptr && x->rank == 2 && node.inputs.size() >= 2 &&
                    int_attribute(node, "transA", 0) == 0;
  if (!fits) return std::nullopt;
  const Columns made =
      multiplied(StepColumns(*x), node.inputs[1], int_attribute(node, "transB", 0) != 0,
                 float_attribute(node, "alpha", 1));
  const double beta = float_attribute(node, "beta", 1);
  if (!made || node.inputs.size() < 3 || node.inputs[2] == kNoValue || beta == 0) return made;
  if (const std::optional<double> value = number(node, 2)) return scaled(*made, 1, beta * *value);
  Columns added;
  if (const StepColumns* given = columns(node, 2)) {
    added = *given;
  } else {
    added = vector_operand(node, 2, *made);
  }
  if (!added) return std::nullopt;
  Node add;
  add.op = "Add";
  return combined(add, *made, *scaled(*added, beta));
}

// A product of rows with a matrix or with a transposed one.
StepFormula::Columns StepFormula::einsum(const Node& node) {
  const std::string equation = string_attribute(node, "equation", "");
  const size_t comma = equation.find(','), arrow = equation.find("->");
  if (comma == std::string::npos || arrow == std::string::npos || arrow < comma)
    return std::nullopt;
  const std::string x = equation.substr(0, comma),
                    w = equation.substr(comma + 1, arrow - comma - 1),
                    y = equation.substr(arrow + 2);
  const StepColumns* rows = columns(node, 0);
  const bool fits = rows != nullptr && w.size() == 2 && w[0] != w[1] && x.size() >= 2 &&
                    y.size() >= 2 && x[x.size() - 2] == y[y.size() - 2] && rows->batch == 2;
  if (!fits) return std::nullopt;
  const bool plain = x.back() == w[0] && y.back() == w[1];
  const bool turned = x.back() == w[1] && y.back() == w[0];
  if (!plain && !turned) return std::nullopt;
  Columns result = multiplied(StepColumns(*rows), node.inputs[1], turned, 1);
  if (result) result->rank = y.size();
  return result;
}

// Slices of the last axis; others are to be whole.
StepFormula::Columns StepFormula::slice(const Node& node) {
  const StepColumns x = *columns(node, 0);
  const auto begin = integers(node, 1, "starts"), end = integers(node, 2, "ends");
  auto axes = integers(node, 3, "axes");
  const auto steps = integers(node, 4, "steps");
  if (!begin || !end || begin->size() != end->size()) return std::nullopt;
  if (node.inputs.size() > 4 &&
      (!steps || std::ranges::any_of(*steps, [](auto s) { return s != 1; })))
    return std::nullopt;
  if (!axes) {
    axes.emplace();
    for (size_t i = 0; i < begin->size(); ++i) axes->push_back(static_cast<int64_t>(i));
  }
  if (axes->size() != begin->size()) return std::nullopt;
  StepColumns result = x;
  for (size_t i = 0; i < axes->size(); ++i) {
    if (!is_axis((*axes)[i], x.rank)) return std::nullopt;
    if (from_end(x.rank, (*axes)[i]) != 1) {
      if ((*begin)[i] != 0 || (*end)[i] < INT32_MAX) return std::nullopt;
      continue;
    }
    const int64_t width = x.width();
    const auto at = [&](int64_t place) {
      return std::clamp<int64_t>(place < 0 ? place + width : place, 0, width);
    };
    result = part(x, at((*begin)[i]), at((*end)[i]));
  }
  return result.pieces.empty() ? std::nullopt : Columns(std::move(result));
}

// Split along the last axis. False for every other node.
bool StepFormula::add_split(const Node& node) {
  const StepColumns* given = columns(node, 0);
  if (node.op != "Split" || !node.domain.empty() || given == nullptr) return false;
  const StepColumns x = *given;
  const int64_t axis = int_attribute(node, "axis", 0);
  if (!is_axis(axis, x.rank) || from_end(x.rank, axis) != 1) return true;
  auto sizes = integers(node, 1, "split");
  const auto count = static_cast<int64_t>(node.outputs.size());
  if (!sizes) {
    if (node.inputs.size() > 1 || x.width() % count != 0) return true;
    sizes.emplace(node.outputs.size(), x.width() / count);
  }
  if (sizes->size() != node.outputs.size()) return true;
  int64_t begin = 0;
  for (size_t i = 0; i < sizes->size(); ++i) {
    const int64_t size = (*sizes)[i];
    if (size < 1 || begin + size > x.width()) return true;
    if (node.outputs[i] != kNoValue) known_.emplace(node.outputs[i], part(x, begin, begin + size));
    begin += size;
  }
  return true;
}

StepFormula::Columns StepFormula::concat(const Node& node) {
  Columns result;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const StepColumns* x = columns(node, i);
    if (x == nullptr) return std::nullopt;
    if (!result) {
      result = *x;
      continue;
    }
    if (x->rank != result->rank || x->batch != result->batch) return std::nullopt;
    result->pieces.insert(result->pieces.end(), x->pieces.begin(), x->pieces.end());
  }
  const int64_t axis = int_attribute(node, "axis", 0);
  const bool last = result && is_axis(axis, result->rank) && from_end(result->rank, axis) == 1;
  return last ? result : std::nullopt;
}

StepFormula::Columns StepFormula::squeeze(const Node& node) const {
  StepColumns x = *columns(node, 0);
  const auto axes = integers(node, 1, "axes");
  if (!axes) return std::nullopt;
  const size_t rank = x.rank, batch = x.batch;
  for (const int64_t axis : *axes) {
    if (!is_axis(axis, rank)) return std::nullopt;
    const size_t place = from_end(rank, axis);
    if (place == 1 || place == batch) return std::nullopt;
    --x.rank;
    if (place < batch) --x.batch;
  }
  return x;
}

StepFormula::Columns StepFormula::unsqueeze(const Node& node) const {
  StepColumns x = *columns(node, 0);
  auto axes = integers(node, 1, "axes");
  if (!axes) return std::nullopt;
  const size_t rank = x.rank + axes->size();
  std::vector<size_t> places;
  for (const int64_t axis : *axes) {
    if (!is_axis(axis, rank)) return std::nullopt;
    places.push_back(from_end(rank, axis));
  }
  std::ranges::sort(places);
  for (const size_t place : places) {
    if (place == 1) return std::nullopt;
    if (place <= x.batch) ++x.batch;
  }
  x.rank = rank;
  return x;
}

// To [.., N, .., width] with extents of 1 besides.
StepFormula::Columns StepFormula::reshape(const Node& node) const {
  StepColumns x = *columns(node, 0);
  const auto shape = integers(node, 1, "shape");
  if (!shape || shape->size() < 2 || int_attribute(node, "allowzero", 0) != 0) return std::nullopt;
  const size_t rank = shape->size();
  std::vector<size_t> free;
  for (size_t i = 0; i + 1 < rank; ++i) {
    int64_t extent = (*shape)[i];
    if (extent == 0) {
      if (i >= x.rank) return std::nullopt;
      extent = x.rank - i == x.batch ? -1 : 1;
    }
    if (extent != 1) free.push_back(rank - i);
  }
  const bool same = shape->back() == x.width() || (shape->back() == 0 && rank == x.rank) ||
                    (shape->back() == -1 && free.size() <= 1);
  if (!same || free.size() > 1) return std::nullopt;
  x.rank = rank;
  x.batch = free.empty() ? 2 : free[0];
  return x;
}

StepFormula::Columns StepFormula::transpose(const Node& node) const {
  StepColumns x = *columns(node, 0);
  std::vector<int64_t> usual;
  for (size_t i = x.rank; i-- > 0;) usual.push_back(static_cast<int64_t>(i));
  const std::vector<int64_t> perm = ints_attribute(node, "perm", usual);
  if (perm.size() != x.rank || from_end(x.rank, perm.back()) != 1) return std::nullopt;
  for (size_t i = 0; i < x.rank; ++i) {
    if (from_end(x.rank, perm[i]) != x.batch) continue;
    x.batch = x.rank - i;
    return x;
  }
  return std::nullopt;
}

// What tract calls epilogues: a step after its products. False for every other node.
bool StepFormula::add_epilogue(const Node& node) {
  const bool lstm = node.op == "tract_core_lstm_epilogue",
             gru = node.op == "tract_core_gru_epilogue";
  if (node.domain != "nnef" || (!lstm && !gru)) return false;
  const StepColumns *sums = columns(node, 0), *state = columns(node, lstm ? 1 : 2);
  const StepColumns* held = lstm ? nullptr : columns(node, 1);
  if (sums == nullptr || state == nullptr || (gru && held == nullptr)) return true;
  const StepColumns all = *sums, before = *state;
  const int64_t h = before.width();
  if (all.width() != (lstm ? 4 : 3) * h || (gru && held->width() != 3 * h)) return true;
  Node add, mul;
  add.op = "Add";
  mul.op = "Mul";
  const auto gate = [&](const StepColumns& from, int64_t i) {
    return part(from, i * h, (i + 1) * h);
  };
  const auto bent = [&](const Columns& x, const char* f) { return x ? applied(*x, f) : x; };
  const auto both = [&](const Node& op, const Columns& a, const Columns& b) {
    return a && b ? combined(op, *a, *b) : std::nullopt;
  };
  const auto set = [&](size_t output, const Columns& made) {
    const bool named = output < node.outputs.size() && node.outputs[output] != kNoValue;
    if (named && made) known_.emplace(node.outputs[output], *made);
  };
  if (lstm) {
    const Columns c = both(add, both(mul, bent(gate(all, 2), "Sigmoid"), before),
                           both(mul, bent(gate(all, 0), "Sigmoid"), bent(gate(all, 3), "Tanh")));
    set(0, both(mul, bent(gate(all, 1), "Sigmoid"), bent(c, "Tanh")));
    set(1, c);
    return true;
  }
  const StepColumns kept = *held;
  const auto opened = [&](int64_t i) {
    return bent(both(add, gate(all, i), gate(kept, i)), "Sigmoid");
  };
  const Columns z = opened(0),
                n = bent(both(add, gate(all, 2), both(mul, opened(1), gate(kept, 2))), "Tanh");
  set(0, z ? both(add, both(mul, scaled(*z, -1, 1), n), both(mul, z, before)) : z);
  return true;
}

}  // namespace espalier
