// Invocations: built-in functions, operators with a translator, fragments that are expanded, and
// operators that are kept (kept_operators.cpp).
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "formats/nnef/language/lexer.h"
#include "formats/nnef/language/standard_operators.h"
#include "formats/nnef/read/evaluator.h"
#include "formats/nnef/read/operations.h"
#include "formats/nnef/read/sparse_variable.h"
#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

using ValueKind = EvalValue::Kind;

}  // namespace

// Where the length of an array of results must show in the text: each has a name of its own.
void Evaluator::refuse_array(const Expr& call, const EvalValue& results) const {
  if (is_tract_ || results.kind != ValueKind::array || call.text == "range_of") return;
  fail_at(
      call.at,
      fmt::format("{} returns an array, expected an assignment to its items: [a, b, ...] = {}(...)",
                  printable(call.text), printable(call.text)));
}

// Evaluates the arguments, then invokes. New symbols may appear only in the shape of an external.
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

// Length, range and shape of a value (NNEF has two spellings of each) and the conversions between
// integer, scalar, logical and string; kind nothing for any other name.
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

// The argument of each parameter, in order: positional, then named, then the fallback.
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

// Tries, in this order: a decode fragment of espalier on constants (a packed weight), a fragment of
// the document with a body (expanded), a translator, the standard's own body (expanded). What is
// left is kept.
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

// Runs the body of a fragment in a scope of its own and gives its results, several as a tuple.
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

}  // namespace espalier::nnef
