#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "formats/nnef/language/document.h"

namespace espalier::nnef {

/// Checks a document, assignment after assignment, against the rules of NNEF 1.0.5: the document's
/// structure in check_types.cpp, expressions in expression_types.cpp.
class TypeChecker {
 public:
  explicit TypeChecker(const Document& document) : document_(document) {}

  /// Errors  Fault::kFormat with line:column where the document breaks a rule.
  void run();

 private:
  /// What an expression may contain: a default value, a flat argument, anything.
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

}  // namespace espalier::nnef
