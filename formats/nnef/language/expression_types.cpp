// The types of expressions (NNEF 1.0.5, 3.3.3).
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "formats/nnef/language/lexer.h"
#include "formats/nnef/language/type_checker.h"
#include "formats/nnef/language/types.h"
#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

using Kind = Expr::Kind;
using TypeKind = Type::Kind;

constexpr size_t kMaxTypeParts = 1000;  // of tuples in tuples, which assignments can multiply

}  // namespace

// The type of any expression that the mode allows.
Type TypeChecker::type_of(const Expr& expr) {
  const bool is_value = expr.kind == Kind::number || expr.kind == Kind::string ||
                        expr.kind == Kind::logical || expr.kind == Kind::array ||
                        expr.kind == Kind::tuple;
  const bool is_negative =
      expr.kind == Kind::unary && expr.text == "-" && expr.items[0].kind == Kind::number;
  const bool is_flat =
      is_value || is_negative || expr.kind == Kind::identifier || expr.kind == Kind::call;
  if (mode_ == Mode::literal && !is_value && !is_negative) fail_at(expr.at, "expected a literal");
  if (mode_ == Mode::flat && !is_flat) {
    fail_at(expr.at, "this expression requires extension KHR_enable_operator_expressions");
  }
  switch (expr.kind) {
    case Kind::nothing:
      break;
    case Kind::identifier: {
      const auto found = names_.find(expr.text);
      if (found != names_.end()) return found->second;
      fail_at(expr.at, fmt::format("{} is used before it is assigned", printable(expr.text)));
    }
    case Kind::number:
      return primitive(expr.text.find_first_of(".eE") == std::string::npos ? "integer" : "scalar");
    case Kind::string:
      return primitive("string");
    case Kind::logical:
      return primitive("logical");
    case Kind::array:
      return array(expr);
    case Kind::tuple:
      return tuple(expr);
    case Kind::call:
      return call(expr);
    case Kind::subscript:
    case Kind::range:
      return subscript(expr);
    case Kind::unary:
      return unary(expr);
    case Kind::binary:
      return binary(expr);
    case Kind::if_else:
      return if_else(expr);
    case Kind::comprehension:
      return comprehension(expr);
  }
  fail_at(expr.at, "expected a value");
}

Type TypeChecker::array(const Expr& expr) {
  Type item;
  for (size_t i = 0; i < expr.items.size(); ++i) {
    const Type next = type_of(expr.items[i]);
    const std::optional<Type> both = i == 0 ? next : common(item, next);
    if (!both) {
      fail_at(expr.at, fmt::format("an array of {} and {}", name_of(item), name_of(next)));
    }
    item = *both;
  }
  return expr.items.empty() ? empty_array() : array_of(std::move(item));
}

Type TypeChecker::tuple(const Expr& expr) {
  Type result{TypeKind::tuple, "", {}};
  if (expr.items.empty()) fail_at(expr.at, "the tuple is empty");
  for (const Expr& item : expr.items) result.items.push_back(type_of(item));
  if (parts_of(result) > kMaxTypeParts) {
    fail_at(expr.at, fmt::format("the tuple has more than {} items", kMaxTypeParts));
  }
  return result;
}

// Of a tuple by an integer literal; of an array or a string by integers, which also cut ranges.
Type TypeChecker::subscript(const Expr& expr) {
  const Type base = type_of(expr.items[0]);
  if (base.kind == TypeKind::tuple) {
    const Expr& at = expr.items[1];
    const bool literal = expr.kind == Kind::subscript && at.kind == Kind::number &&
                         at.text.size() < 5 && is_primitive(type_of(at), "integer");
    if (!literal) fail_at(expr.at, "expected an integer literal as subscript of a tuple");
    const size_t index = std::stoul(at.text);
    if (index >= base.items.size()) {
      fail_at(expr.at, fmt::format("subscript {} of {} items", index, base.items.size()));
    }
    return base.items[index];
  }
  const bool text = is_primitive(base, "string");
  if (!text && (base.kind != TypeKind::array || base.items.empty())) {
    fail_at(expr.at, fmt::format("a subscript of {}", name_of(base)));
  }
  for (size_t i = 1; i < expr.items.size(); ++i) {
    if (expr.items[i].kind == Kind::nothing) continue;
    const Type place = type_of(expr.items[i]);
    if (!is_primitive(place, "integer")) {
      fail_at(expr.items[i].at, fmt::format("a subscript is {}", name_of(place)));
    }
  }
  return text || expr.kind == Kind::range ? base : base.items[0];
}

Type TypeChecker::unary(const Expr& expr) {
  const Type type = type_of(expr.items[0]);
  const bool number =
      is_primitive(type, "integer") || is_primitive(type, "scalar") || is_tensor(type, "scalar");
  const bool logical = is_primitive(type, "logical") || is_tensor(type, "logical");
  if (expr.text == "!" ? logical : number) return type;
  fail_at(expr.at, fmt::format("{} of {}", expr.text, name_of(type)));
}

// Membership, joined and repeated arrays and strings, then operators on one common type.
Type TypeChecker::binary(const Expr& expr) {
  const Type a = type_of(expr.items[0]), b = type_of(expr.items[1]);
  const std::string& op = expr.text;
  if (op == "in" && b.kind == TypeKind::array) return primitive("logical");
  if (op == "+" && a.kind == TypeKind::array && same(a, b)) return a;
  const bool repeats = op == "*" && is_primitive(b, "integer");
  if (repeats && (a.kind == TypeKind::array || is_primitive(a, "string"))) return a;
  const std::optional<Type> both = op == "in" ? std::nullopt : common(a, b);
  if (both) {
    const bool tensor = is_tensor(*both, "scalar");
    const bool number = tensor || is_primitive(*both, "integer") || is_primitive(*both, "scalar");
    if (op == "==" || op == "!=") {
      if (tensor) return tensor_of("logical");
      if (both->kind == TypeKind::primitive) return primitive("logical");
    } else if (op == "<" || op == ">" || op == "<=" || op == ">=") {
      if (number) return tensor ? tensor_of("logical") : primitive("logical");
    } else if (op == "&&" || op == "||") {
      if (is_primitive(*both, "logical") || is_tensor(*both, "logical")) return *both;
    } else if (number || (op == "+" && is_primitive(*both, "string"))) {
      return *both;
    }
  }
  fail_at(expr.at, fmt::format("{} of {} and {}", op, name_of(a), name_of(b)));
}

Type TypeChecker::if_else(const Expr& expr) {
  const Type value = type_of(expr.items[0]), condition = type_of(expr.items[1]);
  if (!is_primitive(condition, "logical")) {
    fail_at(expr.items[1].at, fmt::format("a condition is {}", name_of(condition)));
  }
  const Type other = type_of(expr.items[2]);
  const std::optional<Type> both = common(value, other);
  if (!both) {
    fail_at(expr.at, fmt::format("if-else of {} and {}", name_of(value), name_of(other)));
  }
  return *both;
}

Type TypeChecker::comprehension(const Expr& expr) {
  const size_t loops = expr.names.size();
  for (size_t i = 0; i < loops; ++i) {
    const Type iterable = type_of(expr.items[loops + i]);
    if (iterable.kind != TypeKind::array || iterable.items.empty()) {
      fail_at(expr.items[loops + i].at, fmt::format("a loop over {}", name_of(iterable)));
    }
    declare(expr.items[i], iterable.items[0]);
  }
  if (expr.items.size() == 2 * loops + 2) {
    const Type condition = type_of(expr.items[2 * loops]);
    if (!is_primitive(condition, "logical")) {
      fail_at(expr.items[2 * loops].at, fmt::format("a condition is {}", name_of(condition)));
    }
  }
  Type item = type_of(expr.items.back());
  for (size_t i = 0; i < loops; ++i) undeclare(expr.items[i]);
  return array_of(std::move(item));
}

// length_of, range_of and conversions, which need the extension for operator expressions.
Type TypeChecker::builtin(const Expr& expr) {
  if (mode_ != Mode::full) {
    fail_at(expr.at,
            fmt::format("{} requires extension KHR_enable_operator_expressions", expr.text));
  }
  if (!expr.generic.empty()) fail_at(expr.at, fmt::format("{} takes no type", expr.text));
  if (expr.text == "shape_of") fail_at(expr.at, "shape_of was removed in NNEF 1.0.1");
  if (expr.items.size() != 1 || !expr.names[0].empty()) {
    fail_at(expr.at, fmt::format("{} takes one argument", expr.text));
  }
  const Type type = type_of(expr.items[0]);
  const bool sequence = type.kind == TypeKind::array || is_primitive(type, "string");
  const bool measures = expr.text == "length_of" || expr.text == "range_of";
  if (measures ? !sequence : type.kind != TypeKind::primitive) {
    fail_at(expr.at, fmt::format("{} of {}", expr.text, name_of(type)));
  }
  if (expr.text == "range_of") return array_of(primitive("integer"));
  return primitive(measures ? "integer" : expr.text);
}

// The item type that stands for ? in `parameter`, as `argument` shows.
void TypeChecker::deduce(const Type& parameter, const Type& argument, std::string& item,
                         const Expr& expr) {
  if (parameter.name == "?" && !argument.name.empty()) {
    if (item.empty()) item = argument.name;
    if (item != argument.name) {
      fail_at(expr.at, fmt::format("{} of {} and {} at once", expr.text, item, argument.name));
    }
  }
  if (parameter.kind != argument.kind) return;
  for (size_t i = 0; i < std::min(parameter.items.size(), argument.items.size()); ++i) {
    deduce(parameter.items[i], argument.items[i], item, expr);
  }
}

// Binds the arguments to the parameters of the declaration, checks their types, deduces ?, and
// gives the type of the results (several as a tuple).
Type TypeChecker::call(const Expr& expr) {
  constexpr std::array<std::string_view, 7> kBuiltins = {
      "length_of", "range_of", "shape_of", "integer", "scalar", "logical", "string"};
  if (std::ranges::count(kBuiltins, expr.text) != 0) return builtin(expr);
  const Fragment* declaration = find(expr.text);
  if (declaration == nullptr) {
    fail_at(expr.at, fmt::format("operator {} is not defined", printable(expr.text)));
  }
  const std::vector<Parameter>& parameters = declaration->parameters;
  std::string item = expr.generic.empty() ? declaration->generic_fallback : expr.generic;
  std::vector<std::optional<Type>> given(parameters.size());
  bool must_be_named = false;
  for (size_t i = 0; i < expr.items.size(); ++i) {
    const std::string& name = expr.names[i];
    const auto found = std::ranges::find(parameters, name, &Parameter::name);
    const size_t index = name.empty() ? i : static_cast<size_t>(found - parameters.begin());
    if (index >= parameters.size()) {
      fail_at(expr.at, name.empty()
                           ? fmt::format("{} takes {} arguments", expr.text, parameters.size())
                           : fmt::format("{} has no parameter {}", expr.text, printable(name)));
    }
    const Parameter& parameter = parameters[index];
    must_be_named = must_be_named || !name.empty() || is_attribute(parameter.type);
    if (must_be_named && name.empty()) {
      fail_at(expr.items[i].at,
              fmt::format("{}: argument {} must be named", expr.text, parameter.name));
    }
    if (given[index])
      fail_at(expr.at, fmt::format("{} is given {} twice", expr.text, parameter.name));
    given[index] = type_of(expr.items[i]);
    const Type expected = item.empty() ? parameter.type : bound(parameter.type, item);
    if (!castable(*given[index], expected)) {
      fail_at(expr.items[i].at, fmt::format("{}: {} is {}, expected {}", expr.text, parameter.name,
                                            name_of(*given[index]), print(expected)));
    }
  }
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (given[i]) continue;
    if (!parameters[i].fallback) {
      fail_at(expr.at, fmt::format("argument of {} is missing: {}", expr.text, parameters[i].name));
    }
    const Mode before = std::exchange(mode_, Mode::literal);
    given[i] = type_of(*parameters[i].fallback);
    mode_ = before;
  }
  if (declaration->is_generic && item.empty()) {
    for (size_t i = 0; i < parameters.size(); ++i) {
      deduce(parameters[i].type, *given[i], item, expr);
    }
    if (item.empty()) {
      fail_at(expr.at, fmt::format("the type of {} is not determined: write {}<scalar>", expr.text,
                                   expr.text));
    }
  }
  Type results{TypeKind::tuple, "", {}};
  for (const Parameter& result : declaration->results) {
    results.items.push_back(item.empty() ? result.type : bound(result.type, item));
  }
  return results.items.size() == 1 ? Type(results.items[0]) : results;
}

}  // namespace espalier::nnef
