// Operators of expressions on values that are known: numbers, logicals, strings, arrays, tuples and
// free dimensions.
#include "formats/nnef/read/operations.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "formats/nnef/language/lexer.h"
#include "lib/base/checked_math.h"
#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

using ValueKind = EvalValue::Kind;

int64_t checked(std::optional<int64_t> value, Position at) {
  if (!value) fail_at(at, "the integer does not fit into 64 bits");
  return *value;
}

int64_t power(int64_t base, int64_t exponent, Position at) {
  if (exponent < 0) fail_at(at, "an integer is raised to a negative power");
  if (base == 0 || base == 1) return exponent == 0 ? 1 : base;
  if (base == -1) return exponent % 2 == 0 ? 1 : -1;
  int64_t result = 1;
  for (int64_t i = 0; i < exponent; ++i) result = checked(checked_mul(result, base), at);
  return result;
}

EvalValue integer_operation(const Expr& expr, int64_t a, int64_t b) {
  const std::string& op = expr.text;
  if (op == "+") return EvalValue::of_integer(checked(checked_add(a, b), expr.at));
  if (op == "*") return EvalValue::of_integer(checked(checked_mul(a, b), expr.at));
  if (op == "^") return EvalValue::of_integer(power(a, b, expr.at));
  if (op == "-") return EvalValue::of_integer(checked(checked_sub(a, b), expr.at));
  if (op == "/") {
    if (b == 0) fail_at(expr.at, "an integer is divided by 0");
    if (b == -1 && a == std::numeric_limits<int64_t>::min())
      fail_at(expr.at, "the integer does not fit into 64 bits");
    return EvalValue::of_integer(a / b);
  }
  if (op == "<") return EvalValue::of_logical(a < b);
  if (op == ">") return EvalValue::of_logical(a > b);
  if (op == "<=") return EvalValue::of_logical(a <= b);
  return EvalValue::of_logical(a >= b);
}

EvalValue scalar_operation(const Expr& expr, double a, double b) {
  const std::string& op = expr.text;
  if (op == "+") return EvalValue::of_scalar(a + b);
  if (op == "-") return EvalValue::of_scalar(a - b);
  if (op == "*") return EvalValue::of_scalar(a * b);
  if (op == "/") return EvalValue::of_scalar(a / b);
  if (op == "^") return EvalValue::of_scalar(std::pow(a, b));
  if (op == "<") return EvalValue::of_logical(a < b);
  if (op == ">") return EvalValue::of_logical(a > b);
  if (op == "<=") return EvalValue::of_logical(a <= b);
  return EvalValue::of_logical(a >= b);
}

bool equal(const EvalValue& a, const EvalValue& b) {
  if (a.is_number() && b.is_number()) {
    return a.kind == ValueKind::integer && b.kind == ValueKind::integer ? a.integer == b.integer
                                                                        : a.number() == b.number();
  }
  if (a.kind != b.kind) return false;
  if (a.is_list()) {
    return a.items->size() == b.items->size() &&
           std::equal(a.items->begin(), a.items->end(), b.items->begin(), equal);
  }
  if (a.kind == ValueKind::logical) return a.logical == b.logical;
  return a.text == b.text;
}

std::string dimension_text(const EvalValue& value) {
  if (value.kind == ValueKind::integer) return std::to_string(value.integer);
  const bool word = value.text.find(' ') == std::string::npos;
  return word ? value.text : '(' + value.text + ')';
}

// a * times: an array or a string, repeated.
EvalValue repeated(const Expr& expr, const EvalValue& a, int64_t times, Budget& budget) {
  const bool is_text = a.kind == ValueKind::string;
  if (times < 0) {
    fail_at(expr.at, fmt::format("{} is repeated a negative number of times", describe(a.kind)));
  }
  const std::optional<size_t> count =
      checked_mul(is_text ? a.text.size() : a.items->size(), static_cast<size_t>(times));
  if (is_text) {
    budget.spend(count.value_or(SIZE_MAX));
    std::string text;
    while (text.size() < *count) text += a.text;
    return EvalValue::of_string(std::move(text));
  }
  budget.spend_for_items(count.value_or(SIZE_MAX));
  std::vector<EvalValue> items;
  items.reserve(*count);
  while (items.size() < *count) items.push_back((*a.items)[items.size() % a.items->size()]);
  return EvalValue::of_list(ValueKind::array, std::move(items), expr.at);
}

bool is_integer_literal(std::string_view number) {
  return number.find_first_of(".eE") == std::string_view::npos;
}

}  // namespace

void no_operation(const Expr& expr, const EvalValue& a, const EvalValue& b) {
  fail_at(expr.at, fmt::format("{} of {} and {}", expr.text, describe(a.kind), describe(b.kind)));
}

// By kind of the operands: membership, equality, numbers, free dimensions (a formula as text), then
// arrays and strings.
EvalValue binary_operation(const Expr& expr, const EvalValue& a, const EvalValue& b,
                           Budget& budget) {
  const std::string& op = expr.text;
  if (op == "in") {
    if (!b.is_list()) no_operation(expr, a, b);
    budget.spend(b.items->size());
    const auto is_a = [&](const EvalValue& item) { return equal(a, item); };
    return EvalValue::of_logical(std::ranges::any_of(*b.items, is_a));
  }
  if (op == "==" || op == "!=") {
    if (a.is_list()) budget.spend(a.items->size());
    return EvalValue::of_logical(equal(a, b) == (op == "=="));
  }
  if (op == "&&" || op == "||") no_operation(expr, a, b);
  if (a.kind == ValueKind::integer && b.kind == ValueKind::integer) {
    return integer_operation(expr, a.integer, b.integer);
  }
  if (a.is_number() && b.is_number()) return scalar_operation(expr, a.number(), b.number());
  const bool sized = (a.kind == ValueKind::dimension || a.kind == ValueKind::integer) &&
                     (b.kind == ValueKind::dimension || b.kind == ValueKind::integer);
  if (sized) {
    std::string text = fmt::format("{} {} {}", dimension_text(a), op, dimension_text(b));
    if (text.size() > 1000) fail_at(expr.at, "the formula of a dimension is too long");
    return EvalValue::of_dimension(std::move(text));
  }
  if (a.kind == ValueKind::array && b.kind == ValueKind::array && op == "+") {
    budget.spend_for_items(a.items->size() + b.items->size());
    std::vector<EvalValue> items = *a.items;
    items.insert(items.end(), b.items->begin(), b.items->end());
    return EvalValue::of_list(ValueKind::array, std::move(items), expr.at);
  }
  if (a.kind == ValueKind::string && b.kind == ValueKind::string && op == "+") {
    budget.spend(a.text.size() + b.text.size());
    return EvalValue::of_string(a.text + b.text);
  }
  const bool repeats = a.kind == ValueKind::array || a.kind == ValueKind::string;
  if (repeats && b.kind == ValueKind::integer && op == "*")
    return repeated(expr, a, b.integer, budget);
  no_operation(expr, a, b);
}

EvalValue negative(const Expr& expr, EvalValue value) {
  if (value.kind == ValueKind::integer) {
    value.integer = checked(checked_mul<int64_t>(value.integer, -1), expr.at);
  } else {
    value.scalar = -value.scalar;
  }
  return value;
}

EvalValue number_literal(const Expr& expr) {
  if (is_integer_literal(expr.text)) {
    int64_t value = 0;
    for (const char c : expr.text) {
      value = checked(checked_mul<int64_t>(value, 10), expr.at);
      value = checked(checked_add<int64_t>(value, c - '0'), expr.at);
    }
    return EvalValue::of_integer(value);
  }
  return EvalValue::of_scalar(std::strtod(expr.text.c_str(), nullptr));
}

EvalValue number_of_text(const Expr& expr, const std::string& text) {
  const bool real = expr.text == "scalar";
  errno = 0;
  const EvalValue result = real ? EvalValue::of_scalar(std::strtod(text.c_str(), nullptr))
                                : EvalValue::of_integer(std::strtoll(text.c_str(), nullptr, 10));
  const std::string_view digits = std::string_view(text).substr(text.starts_with('-') ? 1 : 0);
  const bool is_literal = !digits.empty() && number_length(digits) == digits.size() &&
                          (real || is_integer_literal(digits));
  if (!is_literal || errno == ERANGE) {
    fail_at(expr.at, fmt::format("'{}' is not of type {}", printable(text), expr.text));
  }
  return result;
}

}  // namespace espalier::nnef
