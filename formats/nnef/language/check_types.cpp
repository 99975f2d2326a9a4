#include "formats/nnef/language/check_types.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <unordered_map>
#include <utility>

#include "formats/nnef/language/lexer.h"
#include "formats/nnef/language/standard_operators.h"
#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

using Kind = Expr::Kind;
using TypeKind = Type::Kind;

constexpr size_t kMaxTypeParts = 1000;  // of tuples in tuples, which assignments can multiply

Type primitive(std::string name) { return {TypeKind::primitive, std::move(name), {}}; }
Type tensor_of(std::string name) { return {TypeKind::tensor, std::move(name), {}}; }
Type array_of(Type item) { return {TypeKind::array, "", {std::move(item)}}; }
/// The type of []: an array of anything.
Type empty_array() { return {TypeKind::array, "", {}}; }

bool same(const Type& a, const Type& b) {
  return a.kind == b.kind && a.name == b.name && std::ranges::equal(a.items, b.items, same);
}

bool is_attribute(const Type& type) {
  if (type.kind == TypeKind::tensor) return false;
  return type.items.empty() || is_attribute(type.items[0]);
}

bool is_generic(const Type& type) {
  return type.name == "?" || std::ranges::any_of(type.items, is_generic);
}

size_t parts_of(const Type& type) {
  size_t parts = 1;
  for (const Type& item : type.items) parts += parts_of(item);
  return parts;
}

std::string name_of(const Type& type) {
  const bool is_empty = type.kind == TypeKind::array && type.items.empty();
  return is_empty ? "[]" : print(type);
}

bool is_item(const std::string& from, const std::string& to) { return from == to || to == "?"; }

// A primitive passes for a tensor of its type, everything passes for a tensor of any type.
bool castable(const Type& from, const Type& to) {
  if (to.kind == TypeKind::tensor) {
    if (from.kind != TypeKind::tensor && from.kind != TypeKind::primitive) return false;
    return to.name.empty() || (!from.name.empty() && is_item(from.name, to.name));
  }
  if (from.kind != to.kind) return false;
  if (from.kind == TypeKind::primitive) return is_item(from.name, to.name);
  if (from.kind == TypeKind::array && from.items.empty()) return true;
  return from.items.size() == to.items.size() &&
         std::equal(from.items.begin(), from.items.end(), to.items.begin(), castable);
}

std::optional<Type> common(const Type& a, const Type& b) {
  if (castable(a, b)) return b;
  if (castable(b, a)) return a;
  return std::nullopt;
}

/// `type` with `item` in place of ?.
Type bound(Type type, const std::string& item) {
  if (type.name == "?") type.name = item;
  for (Type& part : type.items) part = bound(std::move(part), item);
  return type;
}

bool is_primitive(const Type& type, std::string_view name) {
  return type.kind == TypeKind::primitive && type.name == name;
}
bool is_tensor(const Type& type, std::string_view name) {
  return type.kind == TypeKind::tensor && type.name == name;
}

class Checker {
 public:
  explicit Checker(const Document& document) : document_(document) {}

  void run() {
    // 3.2.4: major and minor version, separated by a dot.
    if (document_.version != "1.0") fail_at(document_.version_at, "expected the version as 1.0");
    for (const std::vector<std::string>& words : document_.extensions) extension(words);
    for (const Fragment& fragment : document_.fragments) check(fragment);
    check(*document_.graph);
  }

 private:
  // What an expression may hold: a default value, a flat argument, anything.
  enum class Mode { literal, flat, full };
  using Names = std::unordered_map<std::string, Type>;

  void extension(const std::vector<std::string>& words);
  void enable(std::string_view extension);
  void check_name(const std::string& name, Position at) const;
  void check_tuples(const Type& type, Position at) const;
  const Fragment* find(std::string_view name) const;

  void check(const Fragment& fragment);
  void check_parameters(const Fragment& fragment);
  void check_results(const Fragment& fragment);
  void check(const GraphDefinition& graph);
  void check_body(const std::vector<Assignment>& body);
  void check_result(const std::string& name, const Type& type, Position at) const;
  void check_inside_fragment(const Expr& expr) const;
  void check_sources(const Expr& target, const Expr& value, const std::set<std::string>& inputs);

  void declare(const Expr& target, const Type& type);
  void undeclare(const Expr& target);

  Type type_of(const Expr& expr);
  Type array(const Expr& expr);
  Type tuple(const Expr& expr);
  Type subscript(const Expr& expr);
  Type unary(const Expr& expr);
  Type binary(const Expr& expr);
  Type if_else(const Expr& expr);
  Type comprehension(const Expr& expr);
  Type builtin(const Expr& expr);
  Type call(const Expr& expr);
  void deduce(const Type& parameter, const Type& argument, std::string& item, const Expr& expr);

  const Document& document_;
  bool has_fragments_ = false, has_operators_ = false;
  std::map<std::string_view, const Fragment*> defined_;
  Mode mode_ = Mode::full;
  Names names_;
  std::set<std::string> variables_;
};

constexpr std::array<std::string_view, 19> kKeywords = {
    "version", "extension", "graph",    "fragment",  "tensor",  "integer", "scalar",
    "logical", "string",    "true",     "false",     "for",     "in",      "if",
    "else",    "yield",     "shape_of", "length_of", "range_of"};

// Names stand beside each other (3.2.4), or between commas as Khronos' parser wants them.
void Checker::extension(const std::vector<std::string>& words) {
  const Error lacks_name(Fault::kFormat, "expected a name after extension");
  bool wants_name = true;  // at the start and behind a comma
  for (const std::string& word : words) {
    std::string_view rest = word;
    while (!rest.empty()) {
      const std::string_view name = rest.substr(0, rest.find(','));
      if (!name.empty()) {
        enable(name);
      } else if (wants_name) {
        throw lacks_name;
      }
      rest.remove_prefix(name.size());
      wants_name = !rest.empty();
      if (wants_name) rest.remove_prefix(1);
    }
  }
  if (wants_name) throw lacks_name;
}

void Checker::enable(std::string_view extension) {
  if (extension == "KHR_enable_fragment_definitions") {
    has_fragments_ = true;
  } else if (extension == "KHR_enable_operator_expressions") {
    has_operators_ = true;
  } else {
    throw Error(Fault::kUnsupported,
                fmt::format("extension '{}' is unknown", printable(std::string(extension))));
  }
}

void Checker::check_name(const std::string& name, Position at) const {
  if (std::ranges::count(kKeywords, name) != 0) {
    fail_at(at, fmt::format("{} is a keyword of NNEF, expected a name", name));
  }
}

const Fragment* Checker::find(std::string_view name) const {
  const auto found = defined_.find(name);
  if (found != defined_.end()) return found->second;
  // The table has tract's operators too: these two are its names for sqr and rcp.
  const bool is_tracts = name.starts_with("tract_") || name == "square" || name == "recip";
  return is_tracts ? nullptr : find_standard_operator(name);
}

void Checker::check_tuples(const Type& type, Position at) const {
  for (const Type& item : type.items) {
    check_tuples(item, at);
    if (is_attribute(item) != is_attribute(type.items[0])) {
      fail_at(at, fmt::format("{} mixes tensors and attributes", print(type)));
    }
  }
  constexpr std::array<std::string_view, 6> kItems = {"",        "integer", "scalar",
                                                      "logical", "string",  "?"};
  if (std::ranges::count(kItems, type.name) == 0) {
    fail_at(at, fmt::format("{} is not a type of NNEF", printable(print(type))));
  }
}

void Checker::check(const Fragment& fragment) {
  if (!has_fragments_) {
    fail_at(fragment.at, "a fragment requires extension KHR_enable_fragment_definitions");
  }
  check_name(fragment.name, fragment.at);
  if (find(fragment.name) != nullptr) {
    fail_at(fragment.at, fmt::format("operator {} is already defined", printable(fragment.name)));
  }
  names_.clear();
  check_parameters(fragment);
  check_results(fragment);
  defined_.emplace(fragment.name, &fragment);  // its body may call it
  if (!fragment.body) return;
  for (const Assignment& assignment : *fragment.body) check_inside_fragment(assignment.value);
  check_body(*fragment.body);
  for (const Parameter& result : fragment.results) {
    check_result(result.name, result.type, fragment.at);
  }
}

void Checker::check_parameters(const Fragment& fragment) {
  if (fragment.parameters.empty()) fail_at(fragment.at, "the fragment has no parameters");
  bool attributes_began = false;
  for (const Parameter& parameter : fragment.parameters) {
    check_name(parameter.name, fragment.at);
    check_tuples(parameter.type, fragment.at);
    const bool attribute = is_attribute(parameter.type);
    if (attributes_began && !attribute) {
      fail_at(fragment.at, fmt::format("tensor {} follows an attribute, expected tensors first",
                                       printable(parameter.name)));
    }
    attributes_began = attribute;
    if (parameter.fallback) {
      mode_ = Mode::literal;
      const Type type = type_of(*parameter.fallback);
      mode_ = Mode::full;
      if (!castable(type, parameter.type)) {
        fail_at(parameter.fallback->at,
                fmt::format("the default of {} is {}, expected {}", printable(parameter.name),
                            name_of(type), print(parameter.type)));
      }
    }
    if (!names_.emplace(parameter.name, parameter.type).second) {
      fail_at(fragment.at, fmt::format("duplicate parameter {}", printable(parameter.name)));
    }
  }
}

void Checker::check_results(const Fragment& fragment) {
  if (fragment.results.empty()) fail_at(fragment.at, "the fragment has no results");
  std::set<std::string_view> seen;
  for (const Parameter& result : fragment.results) {
    check_name(result.name, fragment.at);
    check_tuples(result.type, fragment.at);
    if (names_.contains(result.name) || !seen.insert(result.name).second) {
      fail_at(fragment.at,
              fmt::format("duplicate {} among parameters and results", printable(result.name)));
    }
    if (is_attribute(result.type) != is_attribute(fragment.results[0].type)) {
      fail_at(fragment.at, "results must all be tensors or all attributes");
    }
    if (is_tensor(result.type, "")) fail_at(fragment.at, "a result must not be of type tensor<>");
  }
  const auto generic = [](const Parameter& one) { return is_generic(one.type); };
  const bool is_used = std::ranges::any_of(fragment.parameters, generic) ||
                       std::ranges::any_of(fragment.results, generic);
  if (is_used != fragment.is_generic) {
    fail_at(fragment.at, is_used ? "type ? requires a fragment declared with <?>"
                                 : "a fragment declared with <?> requires a type ?");
  }
}

void Checker::check(const GraphDefinition& graph) {
  names_.clear();
  check_name(graph.name, graph.at);
  std::set<std::string> inputs, outputs;
  if (graph.inputs.empty() || graph.outputs.empty()) {
    fail_at(graph.at, "the graph has no inputs or no outputs");
  }
  for (const std::string& name : graph.inputs) {
    check_name(name, graph.at);
    if (!inputs.insert(name).second) {
      fail_at(graph.at, fmt::format("duplicate input {}", printable(name)));
    }
  }
  for (const std::string& name : graph.outputs) {
    if (inputs.contains(name) || !outputs.insert(name).second) {
      fail_at(graph.at, fmt::format("duplicate {} among inputs and outputs", printable(name)));
    }
  }
  check_body(graph.body);
  for (const std::string& name : graph.inputs) {
    check_result(name, tensor_of(""), graph.at);
  }
  for (const std::string& name : graph.outputs) check_result(name, tensor_of(""), graph.at);
  for (const Assignment& one : graph.body) check_sources(one.target, one.value, inputs);
}

void Checker::check_body(const std::vector<Assignment>& body) {
  mode_ = has_operators_ ? Mode::full : Mode::flat;
  for (const Assignment& assignment : body) {
    if (!has_operators_ && assignment.value.kind != Kind::call) {
      fail_at(assignment.value.at,
              "expected an invocation: other expressions require extension "
              "KHR_enable_operator_expressions");
    }
    declare(assignment.target, type_of(assignment.value));
  }
}

void Checker::check_result(const std::string& name, const Type& type, Position at) const {
  const auto found = names_.find(name);
  if (found == names_.end()) fail_at(at, fmt::format("{} is never assigned", printable(name)));
  if (!castable(found->second, type)) {
    fail_at(at, fmt::format("{} is {}, expected {}", printable(name), name_of(found->second),
                            print(type)));
  }
}

void Checker::check_inside_fragment(const Expr& expr) const {
  constexpr std::array<std::string_view, 3> kGraphOnly = {"external", "variable", "update"};
  if (expr.kind == Kind::call && std::ranges::count(kGraphOnly, expr.text) != 0) {
    fail_at(expr.at, fmt::format("{} must not be used inside a fragment", expr.text));
  }
  for (const Expr& item : expr.items) check_inside_fragment(item);
}

// Inputs are externals and nothing else, and what is updated is a variable.
void Checker::check_sources(const Expr& target, const Expr& value,
                            const std::set<std::string>& inputs) {
  if (target.kind != Kind::identifier && target.kind == value.kind) {
    for (size_t i = 0; i < std::min(target.items.size(), value.items.size()); ++i) {
      check_sources(target.items[i], value.items[i], inputs);
    }
  }
  if (target.kind != Kind::identifier || value.kind != Kind::call) return;
  const bool external = value.text == "external";
  if (external != inputs.contains(target.text)) {
    fail_at(target.at, fmt::format("{} is {}", printable(target.text),
                                   external ? "an external, but not an input of the graph"
                                            : "an input of the graph, but not an external"));
  }
  if (value.text == "variable") variables_.insert(target.text);
  if (value.text == "update") {
    const auto given = std::ranges::find(value.names, "variable");
    const size_t index = given == value.names.end() ? 0 : given - value.names.begin();
    const Expr& updated = value.items[index];
    if (updated.kind != Kind::identifier || !variables_.contains(updated.text)) {
      fail_at(updated.at, "the target of update is not a variable");
    }
  }
}

void Checker::declare(const Expr& target, const Type& type) {
  if (target.kind == Kind::identifier) {
    check_name(target.text, target.at);
    if (!names_.emplace(target.text, type).second) {
      fail_at(target.at, fmt::format("{} is assigned twice", printable(target.text)));
    }
    return;
  }
  const bool is_array = target.kind == Kind::array;
  const bool fits = is_array
                        ? type.kind == TypeKind::array && !type.items.empty()
                        : type.kind == TypeKind::tuple && type.items.size() == target.items.size();
  if (!fits) {
    fail_at(target.at,
            fmt::format("{} of {} targets is assigned {}", is_array ? "an array" : "a tuple",
                        target.items.size(), name_of(type)));
  }
  for (size_t i = 0; i < target.items.size(); ++i) {
    declare(target.items[i], type.items[is_array ? 0 : i]);
  }
}

void Checker::undeclare(const Expr& target) {
  if (target.kind == Kind::identifier) names_.erase(target.text);
  for (const Expr& item : target.items) undeclare(item);
}

Type Checker::type_of(const Expr& expr) {
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

Type Checker::array(const Expr& expr) {
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

Type Checker::tuple(const Expr& expr) {
  Type result{TypeKind::tuple, "", {}};
  if (expr.items.empty()) fail_at(expr.at, "the tuple is empty");
  for (const Expr& item : expr.items) result.items.push_back(type_of(item));
  if (parts_of(result) > kMaxTypeParts) {
    fail_at(expr.at, fmt::format("the tuple has more than {} items", kMaxTypeParts));
  }
  return result;
}

Type Checker::subscript(const Expr& expr) {
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

Type Checker::unary(const Expr& expr) {
  const Type type = type_of(expr.items[0]);
  const bool number =
      is_primitive(type, "integer") || is_primitive(type, "scalar") || is_tensor(type, "scalar");
  const bool logical = is_primitive(type, "logical") || is_tensor(type, "logical");
  if (expr.text == "!" ? logical : number) return type;
  fail_at(expr.at, fmt::format("{} of {}", expr.text, name_of(type)));
}

Type Checker::binary(const Expr& expr) {
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

Type Checker::if_else(const Expr& expr) {
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

Type Checker::comprehension(const Expr& expr) {
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

Type Checker::builtin(const Expr& expr) {
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
void Checker::deduce(const Type& parameter, const Type& argument, std::string& item,
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

Type Checker::call(const Expr& expr) {
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
  bool wants_name = false;
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
    wants_name = wants_name || !name.empty() || is_attribute(parameter.type);
    if (wants_name && name.empty()) {
      fail_at(expr.items[i].at,
              fmt::format("{}: argument {} must be named", expr.text, parameter.name));
    }
    if (given[index])
      fail_at(expr.at, fmt::format("{} is given {} twice", expr.text, parameter.name));
    given[index] = type_of(expr.items[i]);
    const Type wanted = item.empty() ? parameter.type : bound(parameter.type, item);
    if (!castable(*given[index], wanted)) {
      fail_at(expr.items[i].at, fmt::format("{}: {} is {}, expected {}", expr.text, parameter.name,
                                            name_of(*given[index]), print(wanted)));
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

}  // namespace

bool is_tract_dialect(const Document& document) {
  const auto is_tract = [](std::string_view name) { return name.starts_with("tract_"); };
  return std::ranges::any_of(document.extensions,
                             [&](const auto& words) { return is_tract(words[0]); }) ||
         std::ranges::any_of(document.fragments, [&](const Fragment& fragment) {
           return fragment.name == "tract_core_properties";
         });
}

void check_types(const Document& document) { Checker(document).run(); }

}  // namespace espalier::nnef
