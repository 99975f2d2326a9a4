// Expressions in the order of their kinds. Operators on tensors become nodes, all others are
// computed at once (operations.h).
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "formats/nnef/language/lexer.h"
#include "formats/nnef/read/evaluator.h"
#include "formats/nnef/read/operations.h"
#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

using Kind = Expr::Kind;
using ValueKind = EvalValue::Kind;

constexpr uint32_t kMaxEvalDepth = 1500;  // expressions inside each other, over all of them

struct OperatorName {
  std::string_view symbol, name;
};
constexpr std::array kBinary = {
    OperatorName{"+", "add"}, OperatorName{"-", "sub"}, OperatorName{"*", "mul"},
    OperatorName{"/", "div"}, OperatorName{"^", "pow"}, OperatorName{"<", "lt"},
    OperatorName{">", "gt"},  OperatorName{"<=", "le"}, OperatorName{">=", "ge"},
    OperatorName{"==", "eq"}, OperatorName{"!=", "ne"}, OperatorName{"&&", "and"},
    OperatorName{"||", "or"},
};

// What can be used as a tensor; whether an array contains only numbers is checked when it becomes
// one.
bool is_tensor_literal(const EvalValue& value) {
  return value.kind == ValueKind::tensor || value.is_number() || value.kind == ValueKind::logical ||
         value.kind == ValueKind::array;
}

}  // namespace

// Evaluates one expression. `target` is what its value is assigned to, or null: kept operators give
// as many results as there are targets, and results in an array must be assigned to their names.
EvalValue Evaluator::eval(const Expr& expr, Scope& scope, const Expr* target) {
  reading_.budget.spend(1);
  if (++depth_ > kMaxEvalDepth) fail_at(expr.at, "fragments and expressions are nested too deeply");
  struct Leave {
    uint32_t& depth;
    ~Leave() { --depth; }
  } const leave{depth_};
  switch (expr.kind) {
    case Kind::nothing:
      return {};
    case Kind::identifier:
      return identifier(expr, scope);
    case Kind::number:
      return number_literal(expr);
    case Kind::string:
      return EvalValue::of_string(expr.text);
    case Kind::logical:
      return EvalValue::of_logical(expr.text == "true");
    case Kind::array:
    case Kind::tuple:
      return list(expr, scope, target);
    case Kind::call: {
      const EvalValue results = call(expr, scope, target);
      // 3.3.3, Invocation Chaining; 3.3.2, Identifier Usage: those of a graph are tensors.
      const bool in_graph = scope.fragment == nullptr;
      if (target == nullptr || (in_graph && target->kind == Kind::identifier)) {
        refuse_array(expr, results);
      }
      return results;
    }
    case Kind::subscript:
    case Kind::range:
      return subscript(expr, scope);
    case Kind::unary:
      return unary(expr, scope);
    case Kind::binary:
      return binary(expr, scope);
    case Kind::if_else:
      return if_else(expr, scope, target);
    case Kind::comprehension:
      return comprehension(expr, scope);
  }
  return {};
}

EvalValue Evaluator::identifier(const Expr& expr, const Scope& scope) {
  const auto found = scope.names.find(expr.text);
  if (found != scope.names.end()) return found->second;
  if (scope.takes_new_symbols) symbols_.insert(expr.text);
  if (symbols_.contains(expr.text)) {
    return EvalValue::of_dimension(expr.text);
  }
  if (expr.text == "inf") return EvalValue::of_scalar(std::numeric_limits<double>::infinity());
  fail_at(expr.at, fmt::format("{} is used before it is assigned", printable(expr.text)));
}

EvalValue Evaluator::list(const Expr& expr, Scope& scope, const Expr* target) {
  std::vector<EvalValue> items;
  reading_.budget.spend_for_items(expr.items.size());
  items.reserve(expr.items.size());
  const bool is_taken_apart = target != nullptr && target->items.size() == expr.items.size();
  for (size_t i = 0; i < expr.items.size(); ++i)
    items.push_back(eval(expr.items[i], scope, is_taken_apart ? &target->items[i] : nullptr));
  const ValueKind kind = expr.kind == Kind::array ? ValueKind::array : ValueKind::tuple;
  return EvalValue::of_list(kind, std::move(items), expr.at);
}

EvalValue Evaluator::unary(const Expr& expr, Scope& scope) {
  EvalValue value = eval(expr.items[0], scope);
  if (expr.text == "!") {
    if (value.kind == ValueKind::logical) return EvalValue::of_logical(!value.logical);
    if (value.kind == ValueKind::tensor) return operation("not", {value}, expr);
  } else if (value.kind == ValueKind::tensor) {
    return expr.text == "-" ? operation("neg", {value}, expr) : value;
  } else if (value.is_number()) {
    return expr.text == "-" ? negative(expr, value) : value;
  }
  fail_at(expr.at, fmt::format("{} of {}", expr.text, describe(value.kind)));
}

// && and || first, whose second operand may not be evaluated; then operators on tensors, which
// become nodes; then all others.
EvalValue Evaluator::binary(const Expr& expr, Scope& scope) {
  const EvalValue a = eval(expr.items[0], scope);
  const std::string& op = expr.text;
  // && and || of logicals look at their second operand only where it matters.
  if (a.kind == ValueKind::logical && (op == "&&" || op == "||")) {
    if (a.logical == (op == "||")) return a;
    EvalValue b = eval(expr.items[1], scope);
    if (b.kind == ValueKind::logical) return b;
    no_operation(expr, a, b);
  }
  const EvalValue b = eval(expr.items[1], scope);
  if (op != "in" && (a.kind == ValueKind::tensor || b.kind == ValueKind::tensor)) {
    if (!is_tensor_literal(a) || !is_tensor_literal(b)) no_operation(expr, a, b);
    for (const auto& [symbol, name] : kBinary) {
      if (symbol == op) return operation(name, {a, b}, expr);
    }
  }
  return binary_operation(expr, a, b, reading_.budget);
}

// One item of an array, tuple or string, or a range of them; an index below 0 counts from the end.
EvalValue Evaluator::subscript(const Expr& expr, Scope& scope) {
  const EvalValue base = eval(expr.items[0], scope);
  const bool is_text = base.kind == ValueKind::string;
  if (!base.is_list() && !is_text) {
    fail_at(expr.at, fmt::format("a subscript of {}", describe(base.kind)));
  }
  const auto size = static_cast<int64_t>(is_text ? base.text.size() : base.items->size());
  const auto place = [&](const Expr& at, int64_t fallback, int64_t largest) {
    const EvalValue value = eval(at, scope);
    if (value.kind == ValueKind::nothing) return fallback;
    if (value.kind != ValueKind::integer) {
      fail_at(expr.at, fmt::format("a subscript is {}", describe(value.kind)));
    }
    const int64_t from_front = value.integer < 0 ? value.integer + size : value.integer;
    if (from_front < 0 || from_front > largest) {
      fail_at(expr.at, fmt::format("subscript {} of {} items", value.integer, size));
    }
    return from_front;
  };
  if (expr.kind == Kind::subscript) {
    const auto index = static_cast<size_t>(place(expr.items[1], 0, size - 1));
    return is_text ? EvalValue::of_string(base.text.substr(index, 1)) : (*base.items)[index];
  }
  const int64_t begin = place(expr.items[1], 0, size), end = place(expr.items[2], size, size);
  const auto count = static_cast<size_t>(std::max(end - begin, int64_t{0}));  // 3.3.3: none
  if (is_text) {
    reading_.budget.spend(count);
    return EvalValue::of_string(base.text.substr(static_cast<size_t>(begin), count));
  }
  reading_.budget.spend_for_items(count);
  const auto first = base.items->begin() + begin;
  return EvalValue::of_list(base.kind, {first, first + static_cast<int64_t>(count)}, expr.at);
}

EvalValue Evaluator::if_else(const Expr& expr, Scope& scope, const Expr* target) {
  return eval(expr.items[condition(expr.items[1], scope) ? 0 : 2], scope, target);
}

bool Evaluator::condition(const Expr& expr, Scope& scope) {
  const EvalValue value = eval(expr, scope);
  if (value.kind != ValueKind::logical) {
    fail_at(expr.at, fmt::format("a condition is {}", describe(value.kind)));
  }
  return value.logical;
}

// [for targets in arrays if condition yield value]: all loops advance together, so that
// "for a in x, b in y" pairs the items of x and y.
EvalValue Evaluator::comprehension(const Expr& expr, Scope& scope) {
  const size_t loops = expr.names.size();
  std::vector<EvalValue> iterables;
  for (size_t i = 0; i < loops; ++i) {
    iterables.push_back(eval(expr.items[loops + i], scope));
    if (!iterables.back().is_list()) {
      fail_at(expr.at, fmt::format("a loop over {}", describe(iterables.back().kind)));
    }
    if (iterables.back().items->size() != iterables.front().items->size()) {
      fail_at(expr.at, "the arrays of a loop have different lengths");
    }
  }
  const bool filtered = expr.items.size() == 2 * loops + 2;
  std::vector<EvalValue> items;
  for (size_t i = 0; i < iterables.front().items->size(); ++i) {
    for (size_t n = 0; n < loops; ++n) {
      set_loop_variable(expr.items[n], (*iterables[n].items)[i], scope);
    }
    if (!filtered || condition(expr.items[2 * loops], scope)) {
      reading_.budget.spend_for_items(1);
      items.push_back(eval(expr.items.back(), scope));
    }
    for (size_t n = 0; n < loops; ++n) forget(expr.items[n], scope);
  }
  return EvalValue::of_list(ValueKind::array, std::move(items), expr.at);
}

void Evaluator::set_loop_variable(const Expr& target, const EvalValue& value, Scope& scope) {
  reading_.budget.spend(1);
  if (target.kind == Kind::identifier) {
    if (!scope.names.emplace(target.text, value).second) {
      fail_at(target.at,
              fmt::format("loop variable {} already has a value", printable(target.text)));
    }
    return;
  }
  if (!value.is_list() || value.items->size() != target.items.size()) {
    fail_at(target.at,
            fmt::format("{} loop variables for {}", target.items.size(), describe(value.kind)));
  }
  for (size_t i = 0; i < target.items.size(); ++i) {
    set_loop_variable(target.items[i], (*value.items)[i], scope);
  }
}

void Evaluator::forget(const Expr& target, Scope& scope) {
  if (target.kind == Kind::identifier) scope.names.erase(target.text);
  for (const Expr& item : target.items) forget(item, scope);
}

EvalValue Evaluator::operation(std::string_view name, std::vector<EvalValue> operands,
                               const Expr& expr) {
  Expr call;
  call.kind = Kind::call;
  call.at = expr.at;
  call.text = name;
  Arguments arguments;
  for (EvalValue& operand : operands) arguments.emplace_back("", std::move(operand));
  return invoke(call, "", arguments, "", nullptr);
}

}  // namespace espalier::nnef
