#include "formats/nnef/read/evaluator.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "formats/nnef/language/check_types.h"
#include "formats/nnef/language/lexer.h"
#include "formats/nnef/language/standard_operators.h"
#include "formats/nnef/read/dequantize.h"
#include "formats/nnef/read/sparse_variable.h"
#include "lib/base/checked_math.h"
#include "lib/base/error.h"
#include "lib/base/limits.h"

namespace espalier::nnef {
namespace {

using Kind = Expr::Kind;
using ValueKind = EvalValue::Kind;

constexpr uint32_t kMaxCalls = limits::nnef_fragment_nesting;  // fragments inside each other
constexpr uint32_t kMaxEvalDepth = 1500;  // expressions inside each other, over all of them

[[noreturn]] void no_operation(const Expr& expr, const EvalValue& a, const EvalValue& b) {
  fail_at(expr.at, fmt::format("{} of {} and {}", expr.text, describe(a.kind), describe(b.kind)));
}

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

// What may stand where a tensor is wanted; whether an array holds numbers shows when it becomes
// one.
bool is_tensor_literal(const EvalValue& value) {
  return value.kind == ValueKind::tensor || value.is_number() || value.kind == ValueKind::logical ||
         value.kind == ValueKind::array;
}

bool is_integer_literal(std::string_view number) {
  return number.find_first_of(".eE") == std::string_view::npos;
}

// integer('12'), scalar('-0.5')
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

// Names the values in `value` after a target, where they have no name yet.
void first_identifier(const Expr& target, std::string& out) {
  if (!out.empty()) return;
  if (target.kind == Kind::identifier) out = target.text;
  for (const Expr& item : target.items) first_identifier(item, out);
}

size_t target_count(const Expr* target) {
  if (target == nullptr || target->kind == Kind::identifier) return 1;
  return target->items.size();
}

}  // namespace

Evaluator::Evaluator(Reading& reading)
    : reading_(reading), is_tract_(is_tract_dialect(reading.document)) {
  if (!reading_.fragments.empty()) return;  // a reading inside another
  for (const Fragment& fragment : reading.document.fragments) {
    if (!reading_.fragments.emplace(fragment.name, &fragment).second) {
      fail_at(fragment.at, fmt::format("duplicate fragment {}", printable(fragment.name)));
    }
  }
  for (const Quantization& entry : reading.document.quantization) {
    quantization_.emplace(entry.tensor, &entry);
  }
  for (const std::vector<std::string>& extension : reading.document.extensions) {
    if (extension.size() == 2 && extension[0] == "tract_symbol") {
      symbols_.insert(extension[1]);
    }
  }
}

void Evaluator::run_body(const std::vector<Assignment>& body, Scope& scope) {
  for (const Assignment& assignment : body) {
    if (scope.fragment == nullptr) {
      scope.prefix.clear();
      first_identifier(assignment.target, scope.prefix);
    }
    const EvalValue value = eval(assignment.value, scope, &assignment.target);
    assign(assignment.target, value, scope);
  }
}

// Where the length of an array of results must show in the text: each has a name of its own.
void Evaluator::refuse_array(const Expr& call, const EvalValue& results) const {
  if (is_tract_ || results.kind != ValueKind::array || call.text == "range_of") return;
  fail_at(
      call.at,
      fmt::format("{} returns an array, expected an assignment to its items: [a, b, ...] = {}(...)",
                  printable(call.text), printable(call.text)));
}

bool Evaluator::is_result(const std::string& name, const Scope& scope) {
  return scope.fragment != nullptr &&
         std::ranges::count(scope.fragment->results, name, &Parameter::name) != 0;
}

void Evaluator::assign(const Expr& target, const EvalValue& value, Scope& scope) {
  reading_.budget.spend(1);
  if (target.kind == Kind::identifier) {
    if (value.kind == ValueKind::nothing) {
      fail_at(target.at, fmt::format("{} is assigned no value", printable(target.text)));
    }
    // 3.3.2, Assignments: where a primitive gives them, nothing says how many there are.
    if (value.from_primitive && !is_result(target.text, scope)) {
      fail_at(target.at, fmt::format("{} is assigned an array of unspecified length, expected an "
                                     "assignment to its items: [a, b, ...]",
                                     printable(target.text)));
    }
    const bool is_annotated = scope.fragment == nullptr && quantization_.contains(target.text);
    const EvalValue assigned = is_annotated ? quantized(target.text, value) : value;
    if (!scope.names.insert_or_assign(target.text, assigned).second && !is_tract_) {
      fail_at(target.at, fmt::format("{} is assigned twice", printable(target.text)));
    }
    if (assigned.kind != ValueKind::tensor) return;
    if (scope.fragment == nullptr) {
      reading_.graph.wish_name(assigned.tensor, target.text);
    } else if (!is_result(target.text, scope)) {
      // A result gets its name from where the fragment is called.
      reading_.graph.wish_name(value.tensor, scope.prefix + "_" + target.text);
    }
    return;
  }
  if (!value.is_list() || value.items->size() != target.items.size()) {
    fail_at(target.at,
            fmt::format("{} targets are assigned {}{}", target.items.size(), describe(value.kind),
                        value.is_list() ? fmt::format(" of {}", value.items->size()) : ""));
  }
  for (size_t i = 0; i < target.items.size(); ++i) {
    assign(target.items[i], (*value.items)[i], scope);
  }
}

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
      return number(expr);
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

EvalValue Evaluator::number(const Expr& expr) const {
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
  } else if (value.kind == ValueKind::integer) {
    if (expr.text == "-") value.integer = checked(checked_mul<int64_t>(value.integer, -1), expr.at);
    return value;
  } else if (value.kind == ValueKind::scalar) {
    if (expr.text == "-") value.scalar = -value.scalar;
    return value;
  }
  fail_at(expr.at, fmt::format("{} of {}", expr.text, describe(value.kind)));
}

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
  if (op == "in") {
    if (!b.is_list()) no_operation(expr, a, b);
    reading_.budget.spend(b.items->size());
    const auto is_a = [&](const EvalValue& item) { return equal(a, item); };
    return EvalValue::of_logical(std::ranges::any_of(*b.items, is_a));
  }
  if (a.kind == ValueKind::tensor || b.kind == ValueKind::tensor) {
    if (!is_tensor_literal(a) || !is_tensor_literal(b)) no_operation(expr, a, b);
    for (const auto& [symbol, name] : kBinary) {
      if (symbol == op) return operation(name, {a, b}, expr);
    }
  }
  if (op == "==" || op == "!=") {
    if (a.is_list()) reading_.budget.spend(a.items->size());
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
    reading_.budget.spend_for_items(a.items->size() + b.items->size());
    std::vector<EvalValue> items = *a.items;
    items.insert(items.end(), b.items->begin(), b.items->end());
    return EvalValue::of_list(ValueKind::array, std::move(items), expr.at);
  }
  if (a.kind == ValueKind::string && b.kind == ValueKind::string && op == "+") {
    reading_.budget.spend(a.text.size() + b.text.size());
    return EvalValue::of_string(a.text + b.text);
  }
  const bool is_text = a.kind == ValueKind::string;
  if ((a.kind == ValueKind::array || is_text) && b.kind == ValueKind::integer && op == "*") {
    if (b.integer < 0) {
      fail_at(expr.at, fmt::format("{} is repeated a negative number of times", describe(a.kind)));
    }
    const std::optional<size_t> count =
        checked_mul(is_text ? a.text.size() : a.items->size(), static_cast<size_t>(b.integer));
    if (is_text) {
      reading_.budget.spend(count.value_or(SIZE_MAX));
      std::string text;
      while (text.size() < *count) text += a.text;
      return EvalValue::of_string(std::move(text));
    }
    reading_.budget.spend_for_items(count.value_or(SIZE_MAX));
    std::vector<EvalValue> items;
    items.reserve(*count);
    while (items.size() < *count) items.push_back((*a.items)[items.size() % a.items->size()]);
    return EvalValue::of_list(ValueKind::array, std::move(items), expr.at);
  }
  no_operation(expr, a, b);
}

// Of arrays, tuples and strings; a place below 0 counts from the end.
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

// All loops advance together: "for a in x, b in y" pairs the items of x and y.
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

EvalValue Evaluator::call(const Expr& expr, Scope& scope, const Expr* target) {
  const bool external = expr.text == "external" || expr.text == "tract_core_external";
  if (external && scope.fragment != nullptr)
    fail_at(expr.at, "external must not be used inside a fragment");
  scope.takes_new_symbols = external;
  Arguments arguments;
  for (size_t i = 0; i < expr.items.size(); ++i) {
    arguments.emplace_back(expr.names[i], eval(expr.items[i], scope));
  }
  scope.takes_new_symbols = false;
  const EvalValue special = builtin(expr, arguments);
  if (special.kind != ValueKind::nothing) return special;
  const std::string generic = expr.generic == "?" ? scope.generic : expr.generic;
  EvalValue results = invoke(expr, generic, arguments, scope.prefix, target);
  if (results.kind == ValueKind::array && !is_tract_) {
    const Fragment* fragment = reading_.fragment(expr.text);
    if (fragment == nullptr) fragment = find_standard_operator(expr.text);
    if (fragment == nullptr || !fragment->body) results.from_primitive = true;
  }
  return results;
}

// lengthof, rangeof, shapeof and conversions; nothing for everything else.
EvalValue Evaluator::builtin(const Expr& expr, const Arguments& arguments) {
  constexpr std::array<std::string_view, 10> kBuiltins = {
      "lengthof", "length_of", "rangeof", "range_of", "shapeof",
      "shape_of", "integer",   "scalar",  "logical",  "string"};
  if (std::ranges::count(kBuiltins, expr.text) == 0) return {};
  if (arguments.size() != 1 || !arguments[0].first.empty()) {
    fail_at(expr.at, fmt::format("{} takes one argument", expr.text));
  }
  const EvalValue& value = arguments[0].second;
  const std::string& name = expr.text;
  const bool is_text = value.kind == ValueKind::string;
  const size_t length = value.is_list() ? value.items->size() : value.text.size();
  if (name.starts_with("length") && (value.is_list() || is_text)) {
    return EvalValue::of_integer(static_cast<int64_t>(length));
  }
  if (name.starts_with("range") && (value.is_list() || is_text)) {
    std::vector<EvalValue> items;
    reading_.budget.spend_for_items(length);
    for (size_t i = 0; i < length; ++i) {
      items.push_back(EvalValue::of_integer(static_cast<int64_t>(i)));
    }
    return EvalValue::of_list(ValueKind::array, std::move(items), expr.at);
  }
  if (name.starts_with("shape") && value.kind == ValueKind::tensor) {
    const std::optional<Shape> shape = reading_.graph.shape(value.tensor);
    if (!shape) fail_at(expr.at, "the shape of this tensor is not known");
    std::vector<EvalValue> items;
    for (const int64_t extent : *shape) {
      items.push_back(extent < 0 ? EvalValue::of_dimension("?") : EvalValue::of_integer(extent));
    }
    return EvalValue::of_list(ValueKind::array, std::move(items), expr.at);
  }
  if (name == "scalar" && value.is_number()) return EvalValue::of_scalar(value.number());
  if (name == "scalar" && value.kind == ValueKind::logical) {
    return EvalValue::of_scalar(value.logical ? 1 : 0);
  }
  if (name == "integer" && value.is_number() && std::abs(value.number()) < 9e18) {
    return EvalValue::of_integer(
        value.kind == ValueKind::integer ? value.integer : static_cast<int64_t>(value.scalar));
  }
  if (name == "integer" && value.kind == ValueKind::logical) {
    return EvalValue::of_integer(value.logical ? 1 : 0);
  }
  if (name == "logical" && value.is_number()) return EvalValue::of_logical(value.number() != 0);
  if (name == "logical" && value.kind == ValueKind::logical) return value;
  if ((name == "integer" || name == "scalar") && is_text) return number_of_text(expr, value.text);
  if (name == "logical" && is_text) return EvalValue::of_logical(!value.text.empty());
  if (name == "string" && value.kind != ValueKind::tensor && !value.is_list()) {
    std::vector<TensorRef> none;
    return EvalValue::of_string(is_text ? value.text : print(value, none));
  }
  fail_at(expr.at, fmt::format("{} of {}", name, describe(value.kind)));
}

std::vector<EvalValue> Evaluator::bind(const Fragment& declaration, const Arguments& arguments,
                                       Position at) {
  const std::vector<Parameter>& parameters = declaration.parameters;
  std::vector<std::optional<EvalValue>> bound(parameters.size());
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& name = arguments[i].first;
    const auto found = std::ranges::find(parameters, name, &Parameter::name);
    const size_t index =
        name.empty() ? i : static_cast<size_t>(std::distance(parameters.begin(), found));
    if (index >= parameters.size()) {
      fail_at(at, name.empty()
                      ? fmt::format("{} takes {} arguments", declaration.name, parameters.size())
                      : fmt::format("{} has no parameter {}", declaration.name, printable(name)));
    }
    if (bound[index]) {
      fail_at(at, fmt::format("{} is given {} twice", declaration.name, parameters[index].name));
    }
    bound[index] = arguments[i].second;
  }
  std::vector<EvalValue> result;
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (!bound[i]) {
      if (!parameters[i].fallback) {
        fail_at(at,
                fmt::format("argument of {} is missing: {}", declaration.name, parameters[i].name));
      }
      Scope empty;
      bound[i] = eval(*parameters[i].fallback, empty);
    }
    result.push_back(*std::move(bound[i]));
  }
  return result;
}

EvalValue Evaluator::invoke(const Expr& expr, const std::string& generic,
                            const Arguments& arguments, const std::string& prefix,
                            const Expr* target) {
  const Fragment* fragment = reading_.fragment(expr.text);
  if (fragment != nullptr) {
    const DecodeFragment* decode = find_decode_fragment(expr.text);
    if (decode != nullptr) {
      static const Document* const kOurs = [] {
        auto* ours = new Document;
        for (const DecodeFragment& one : decode_fragments()) {
          ours->fragments.push_back(parse_fragments(one.text).fragments[0]);
        }
        return ours;
      }();
      Fragment ours = *std::ranges::find(kOurs->fragments, expr.text, &Fragment::name);
      if (!fragment->body) ours.body.reset();  // profile opaque: the declaration alone
      if (same_meaning(*fragment, ours)) {
        try {
          return decode_variable(
              decode->kind,
              Call(reading_, *fragment, bind(*fragment, arguments, expr.at), generic, expr.at));
        } catch (const NotTranslated&) {
          // Not of constants: an ordinary fragment after all.
        }
      }
    }
    if (fragment->body) {
      return expand(*fragment, bind(*fragment, arguments, expr.at), generic, prefix, expr.at);
    }
  }
  const Fragment* standard = find_standard_operator(expr.text);
  if (standard == nullptr) {
    if (fragment == nullptr && !is_opaque(expr.text)) {
      fail_at(expr.at, fmt::format("operator {} is not defined", printable(expr.text)));
    }
    if (fragment != nullptr) bind(*fragment, arguments, expr.at);  // checks them
    return keep(expr, generic, arguments, fragment, target);
  }
  // Operators of tract grow parameters from version to version: such an invocation is kept.
  const auto is_known = [&](const auto& argument) {
    return argument.first.empty() ||
           std::ranges::count(standard->parameters, argument.first, &Parameter::name) != 0;
  };
  if (standard->name.starts_with("tract_") && !std::ranges::all_of(arguments, is_known)) {
    return keep(expr, generic, arguments, standard, target);
  }
  const std::vector<EvalValue> bound = bind(*standard, arguments, expr.at);
  if (const Translator* translator = find_translator(expr.text)) {
    try {
      return translator->translate(Call(reading_, *standard, bound, generic, expr.at));
    } catch (const NotTranslated&) {
      // Expanded or kept below.
    }
  }
  if (standard->body) return expand(*standard, bound, generic, prefix, expr.at);
  return keep(expr, generic, arguments, standard, target);
}

EvalValue Evaluator::expand(const Fragment& fragment, const std::vector<EvalValue>& arguments,
                            const std::string& generic, const std::string& prefix, Position at) {
  if (++calls_ > kMaxCalls) {
    fail_at(
        at,
        fmt::format(
            "fragment {} is expanded more than {} levels deep, probably because it calls itself",
            printable(fragment.name), kMaxCalls));
  }
  Scope scope;
  scope.fragment = &fragment;
  scope.generic = generic.empty() ? fragment.generic_fallback : generic;
  scope.prefix = prefix.size() < 100 ? prefix : prefix.substr(0, 100);
  for (size_t i = 0; i < arguments.size(); ++i) {
    scope.names.emplace(fragment.parameters[i].name, arguments[i]);
  }
  run_body(*fragment.body, scope);
  std::vector<EvalValue> results;
  for (const Parameter& result : fragment.results) {
    const auto found = scope.names.find(result.name);
    if (found == scope.names.end()) {
      fail_at(fragment.at, fmt::format("fragment {} never assigns its result {}",
                                       printable(fragment.name), printable(result.name)));
    }
    results.push_back(found->second);
  }
  --calls_;
  if (results.size() == 1) return results[0];
  return EvalValue::of_list(ValueKind::tuple, std::move(results), at);
}

std::vector<TensorRef> Evaluator::results_of(const Fragment& fragment,
                                             const std::vector<TensorRef>& inputs) {
  std::vector<EvalValue> arguments;
  for (const TensorRef& input : inputs) arguments.push_back(EvalValue::of_tensor(input));
  const EvalValue value = expand(fragment, arguments, "", "body", fragment.at);
  std::vector<TensorRef> results;
  if (value.kind == ValueKind::tensor) return {value.tensor};
  if (!value.is_list()) throw NotTranslated{};
  for (const EvalValue& item : *value.items) {
    if (item.kind != ValueKind::tensor) throw NotTranslated{};
    results.push_back(item.tensor);
  }
  return results;
}

// Operators of tract's registry that are newer than this table.
bool Evaluator::is_opaque(std::string_view name) const {
  const auto is_registry = [](const std::vector<std::string>& extension) {
    return extension[0] == "tract_registry";
  };
  return name.starts_with("tract_") &&
         std::ranges::any_of(reading_.document.extensions, is_registry);
}

EvalValue Evaluator::keep(const Expr& expr, const std::string& generic, const Arguments& arguments,
                          const Fragment* declaration, const Expr* target) {
  Node node;
  node.domain = "nnef";
  node.op = expr.text;
  std::vector<TensorRef> inputs;
  std::string text = expr.text;
  if (!generic.empty()) text += '<' + generic + '>';
  text += '(';
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (i > 0) text += ", ";
    if (!arguments[i].first.empty()) text += arguments[i].first + " = ";
    text += print(arguments[i].second, inputs);
  }
  node.extra = text + ')';
  reading_.budget.spend(node.extra.size());
  for (const auto& argument : arguments) {
    if (argument.second.kind == ValueKind::string) keep_fragment(argument.second.text);
  }
  keep_fragment(expr.text);
  keeps_operators_ = true;

  const bool one_array = declaration != nullptr && declaration->results.size() == 1 &&
                         declaration->results[0].type.kind == Type::Kind::array;
  size_t count = target_count(target);
  if (declaration != nullptr && !one_array) count = declaration->results.size();
  const bool is_target_array = target != nullptr && target->kind == Kind::array;
  std::vector<EvalValue> results;
  for (TensorRef& result :
       reading_.graph.node(std::move(node), inputs, std::vector<OutputInfo>(count))) {
    results.push_back(EvalValue::of_tensor(std::move(result)));
  }
  if (target_count(target) == 1 && results.size() == 1 && !is_target_array) return results[0];
  return EvalValue::of_list(one_array ? ValueKind::array : ValueKind::tuple, std::move(results),
                            expr.at);
}

// A kept operator needs its declaration, and a scan its body with all that it calls.
void Evaluator::keep_fragment(std::string_view name) {
  const Fragment* fragment = reading_.fragment(name);
  if (fragment == nullptr || !kept_fragments_.emplace(name).second) return;
  if (!fragment->body) return;
  std::vector<const Expr*> todo;
  for (const Assignment& assignment : *fragment->body) todo.push_back(&assignment.value);
  while (!todo.empty()) {
    const Expr* expr = todo.back();
    todo.pop_back();
    for (const Expr& item : expr->items) todo.push_back(&item);
    if ((expr->kind == Kind::call || expr->kind == Kind::string) && calls_ < kMaxCalls) {
      ++calls_;
      keep_fragment(expr->text);
      --calls_;
    }
  }
}

std::string Evaluator::kept_text() const {
  if (!keeps_operators_) return {};
  std::string out;
  for (const std::vector<std::string>& extension : reading_.document.extensions) {
    out += "extension";
    for (const std::string& word : extension) out += ' ' + word;
    out += ";\n";
  }
  for (const Fragment& fragment : reading_.document.fragments) {
    if (kept_fragments_.contains(fragment.name)) out += fragment.source + "\n";
  }
  return out;
}

EvalValue Evaluator::quantized(const std::string& name, const EvalValue& value) {
  const Quantization& entry = *quantization_.at(name);
  const Expr& operation = entry.operation;
  try {
    const Fragment* declaration = reading_.fragment(operation.text);
    if (declaration == nullptr) declaration = find_standard_operator(operation.text);
    const bool takes_tensor = declaration != nullptr && !declaration->parameters.empty() &&
                              declaration->parameters[0].type.kind == Type::Kind::tensor;
    if (!takes_tensor) {
      fail_at(operation.at, fmt::format("no quantization operation {} takes a tensor",
                                        printable(operation.text)));
    }
    if (value.kind != ValueKind::tensor) {
      fail_at(entry.at,
              fmt::format("{} is {}, expected a tensor", printable(name), describe(value.kind)));
    }
    Arguments arguments = {{"", value}};
    Scope empty;
    for (size_t i = 0; i < operation.items.size(); ++i) {
      arguments.emplace_back(operation.names[i], eval(operation.items[i], empty));
    }
    const ConstantPtr& stored = value.tensor.constant;
    if (stored != nullptr && stored->dense() != nullptr && !is_float(stored->dtype())) {
      const Call call(reading_, *declaration, bind(*declaration, arguments, operation.at), "",
                      operation.at);
      return EvalValue::of_tensor({kNoValue, dequantized(call, stored)});
    }
    const DType dtype = reading_.graph.dtype(value.tensor);
    if (dtype != DType::kUnknown && !is_float(dtype)) {
      fail_at(entry.at, fmt::format("{} holds {}, only scalars are quantized", printable(name),
                                    name_of(dtype)));
    }
    unquantized_.emplace(name, value);
    const EvalValue result = invoke(operation, "", arguments, name, nullptr);
    if (result.kind != ValueKind::tensor) fail_at(operation.at, "the result is not a tensor");
    return result;
  } catch (Error& error) {
    error.add_context(kQuantFile);
    throw;
  }
}

Model Evaluator::run() {
  const GraphDefinition& graph = *reading_.document.graph;
  Scope scope;
  run_body(graph.body, scope);
  const auto tensor_of = [&](const std::string& name, std::string_view role) {
    const auto found = scope.names.find(name);
    if (found == scope.names.end()) {
      fail_at(graph.at, fmt::format("{} {} is never assigned", role, printable(name)));
    }
    EvalValue value = found->second;
    if (value.kind != ValueKind::tensor) {
      const ConstantPtr constant = literal_constant(value, DType::kUnknown);
      if (constant == nullptr) {
        fail_at(graph.at, fmt::format("{} {} is {}", role, printable(name), describe(value.kind)));
      }
      value.tensor = {kNoValue, constant};
    }
    return value.tensor;
  };
  std::vector<TensorRef> inputs, outputs;
  for (const std::string& name : graph.inputs) {
    const auto found = unquantized_.find(name);
    inputs.push_back(found == unquantized_.end() ? tensor_of(name, "input") : found->second.tensor);
  }
  for (const std::string& name : graph.outputs) outputs.push_back(tensor_of(name, "output"));
  const std::optional<std::string> wrong = reading_.graph.order_inputs(inputs, graph.inputs);
  if (wrong) fail_at(graph.at, *wrong);
  Model model;
  model.graph = reading_.graph.finish(graph.name, outputs, graph.outputs);
  model.origin.format = "nnef";
  model.origin.opset = kNnefOpset;
  model.origin.extra = kept_text();
  return model;
}

Model translate(const Document& document, const LoadTensor& load) {
  if (!document.graph) throw Error(Fault::kFormat, "the document has no graph");
  if (!is_tract_dialect(document)) check_types(document);
  GraphBuilder graph;
  Reading reading{document, load, graph, {}, {}};
  return Evaluator(reading).run();
}

}  // namespace espalier::nnef
