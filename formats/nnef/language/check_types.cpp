#include "formats/nnef/language/check_types.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "formats/nnef/language/lexer.h"
#include "formats/nnef/language/standard_operators.h"
#include "formats/nnef/language/type_checker.h"
#include "formats/nnef/language/types.h"
#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

using Kind = Expr::Kind;
using TypeKind = Type::Kind;

constexpr std::array<std::string_view, 19> kKeywords = {
    "version", "extension", "graph",    "fragment",  "tensor",  "integer", "scalar",
    "logical", "string",    "true",     "false",     "for",     "in",      "if",
    "else",    "yield",     "shape_of", "length_of", "range_of"};

}  // namespace

void TypeChecker::run() {
  // 3.2.4: major and minor version, separated by a dot.
  if (document_.version != "1.0") fail_at(document_.version_at, "expected the version as 1.0");
  for (const std::vector<std::string>& words : document_.extensions) extension(words);
  for (const Fragment& fragment : document_.fragments) check(fragment);
  check(*document_.graph);
}

// Names follow each other (3.2.4), or are separated by commas as Khronos' parser requires.
void TypeChecker::extension(const std::vector<std::string>& words) {
  const Error lacks_name(Fault::kFormat, "expected a name after extension");
  bool wants_name = true;  // at the start and after a comma
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

void TypeChecker::enable(std::string_view extension) {
  if (extension == "KHR_enable_fragment_definitions") {
    has_fragments_ = true;
  } else if (extension == "KHR_enable_operator_expressions") {
    has_operators_ = true;
  } else {
    throw Error(Fault::kUnsupported,
                fmt::format("extension '{}' is unknown", printable(std::string(extension))));
  }
}

void TypeChecker::check_name(const std::string& name, Position at) const {
  if (std::ranges::count(kKeywords, name) != 0) {
    fail_at(at, fmt::format("{} is a keyword of NNEF, expected a name", name));
  }
}

const Fragment* TypeChecker::find(std::string_view name) const {
  const auto found = defined_.find(name);
  if (found != defined_.end()) return found->second;
  // The table has tract's operators too: these two are its names for sqr and rcp.
  const bool is_tracts = name.starts_with("tract_") || name == "square" || name == "recip";
  return is_tracts ? nullptr : find_standard_operator(name);
}

void TypeChecker::check_tuples(const Type& type, Position at) const {
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

void TypeChecker::check(const Fragment& fragment) {
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

// Tensors before attributes, defaults of the parameter's type, no name twice.
void TypeChecker::check_parameters(const Fragment& fragment) {
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

// Results of one sort, distinct from the parameters; ? only where the fragment declares it.
void TypeChecker::check_results(const Fragment& fragment) {
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

// Names of inputs and outputs, the body, and that it assigns all of them.
void TypeChecker::check(const GraphDefinition& graph) {
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

void TypeChecker::check_body(const std::vector<Assignment>& body) {
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

void TypeChecker::check_result(const std::string& name, const Type& type, Position at) const {
  const auto found = names_.find(name);
  if (found == names_.end()) fail_at(at, fmt::format("{} is never assigned", printable(name)));
  if (!castable(found->second, type)) {
    fail_at(at, fmt::format("{} is {}, expected {}", printable(name), name_of(found->second),
                            print(type)));
  }
}

void TypeChecker::check_inside_fragment(const Expr& expr) const {
  constexpr std::array<std::string_view, 3> kGraphOnly = {"external", "variable", "update"};
  if (expr.kind == Kind::call && std::ranges::count(kGraphOnly, expr.text) != 0) {
    fail_at(expr.at, fmt::format("{} must not be used inside a fragment", expr.text));
  }
  for (const Expr& item : expr.items) check_inside_fragment(item);
}

// Inputs are externals and nothing else, and what is updated is a variable.
void TypeChecker::check_sources(const Expr& target, const Expr& value,
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

// Gives the identifiers of a target their types.
void TypeChecker::declare(const Expr& target, const Type& type) {
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

void TypeChecker::undeclare(const Expr& target) {
  if (target.kind == Kind::identifier) names_.erase(target.text);
  for (const Expr& item : target.items) undeclare(item);
}

bool is_tract_dialect(const Document& document) {
  const auto is_tract = [](std::string_view name) { return name.starts_with("tract_"); };
  return std::ranges::any_of(document.extensions,
                             [&](const auto& words) { return is_tract(words[0]); }) ||
         std::ranges::any_of(document.fragments, [&](const Fragment& fragment) {
           return fragment.name == "tract_core_properties";
         });
}

void check_types(const Document& document) { TypeChecker(document).run(); }

}  // namespace espalier::nnef
