#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>

#include "formats/nnef/language/parser.h"
#include "lib/base/limits.h"

namespace espalier::nnef {
namespace {

using Kind = Expr::Kind;

constexpr size_t kMaxExpressions = limits::nnef_expressions;

}  // namespace

Expr Parser::start(Kind kind) {
  if (++expressions_ > kMaxExpressions) {
    fail_at(token_.at, fmt::format("the text has more than {} expressions", kMaxExpressions));
  }
  Expr expr;
  expr.kind = kind;
  expr.at = token_.at;
  return expr;
}

Expr Parser::finish(Expr expr) const {
  for (const Expr& item : expr.items) expr.depth = std::max(expr.depth, item.depth + 1);
  if (expr.depth > Expr::kMaxDepth) {
    fail_at(expr.at, fmt::format("expressions are nested deeper than {}", Expr::kMaxDepth));
  }
  return expr;
}

// if-else ::= value "if" condition "else" other, the loosest of all; to the right like in Python.
Expr Parser::expression() {
  const Level level(*this);
  Expr value = binary(0);
  if (!is_word("if")) return value;
  Expr choice = start(Kind::if_else);
  next();
  choice.items.push_back(std::move(value));
  choice.items.push_back(binary(0));
  expect_word("else");
  choice.items.push_back(expression());
  return finish(std::move(choice));
}

// Loosest first.
constexpr std::array<std::array<std::string_view, 6>, 6> kOperators = {{
    {"in"},
    {"&&", "||"},
    {"<", ">", "<=", ">=", "==", "!="},
    {"+", "-"},
    {"*", "/"},
    {"^"},
}};

Expr Parser::binary(size_t level) {
  if (level == kOperators.size()) return unary();
  Expr left = binary(level + 1);
  for (;;) {
    bool found = false;
    for (const std::string_view name : kOperators[level]) {
      found = found || (!name.empty() && (is(name) || (name == "in" && is_word("in"))));
    }
    if (!found) return left;
    Expr both = start(Kind::binary);
    both.text = token_.text;
    next();
    both.items.push_back(std::move(left));
    both.items.push_back(binary(level + 1));
    left = finish(std::move(both));
  }
}

Expr Parser::unary() {
  if (!is("-") && !is("+") && !is("!")) return postfix();
  const Level level(*this);
  Expr result = start(Kind::unary);
  result.text = token_.text;
  next();
  result.items.push_back(unary());
  return finish(std::move(result));
}

Expr Parser::postfix() {
  Expr base = primary();
  while (is("[")) base = subscript(std::move(base));
  return base;
}

Expr Parser::subscript(Expr base) {
  const Level level(*this);
  Expr result = start(Kind::subscript);
  next();
  Expr begin;
  begin.at = token_.at;
  if (!is(":")) begin = expression();
  result.items.push_back(std::move(base));
  result.items.push_back(std::move(begin));
  if (accept(":")) {
    result.kind = Kind::range;
    Expr end;
    end.at = token_.at;
    if (!is("]")) end = expression();
    result.items.push_back(std::move(end));
  }
  expect("]");
  return finish(std::move(result));
}

// A literal, a name or call, or what is in parentheses or brackets.
Expr Parser::primary() {
  switch (token_.kind) {
    case Token::Kind::number: {
      Expr number = start(Kind::number);
      number.text = token_.text;
      next();
      return number;
    }
    case Token::Kind::string: {
      Expr string = start(Kind::string);
      string.text = token_.unescaped;
      next();
      return string;
    }
    case Token::Kind::identifier:
      return word();
    case Token::Kind::symbol:
      if (is("(")) return parenthesised();
      if (is("[")) return bracketed();
      break;
    case Token::Kind::end:
      break;
  }
  expected("a value");
}

// An identifier, true or false, or a call: name(...) or name<T>(...).
Expr Parser::word() {
  Expr expr = start(Kind::identifier);
  const bool logical = is_word("true") || is_word("false");
  expr.text = identifier("a name");
  if (logical) {
    expr.kind = Kind::logical;
    return expr;
  }
  if (expr.text == "if" || expr.text == "else" || expr.text == "yield" || expr.text == "for") {
    fail_at(expr.at, fmt::format("expected a value, found '{}'", expr.text));
  }
  if (is("(")) return call(std::move(expr));
  if (!is("<")) return expr;
  // name<T>(...) and not a comparison: only a type name and '>' may follow.
  constexpr std::array<std::string_view, 6> kTypes = {"scalar", "integer", "logical",
                                                      "string", "?",       "complex"};
  const Lexer lexer = lexer_;
  const Token token = token_;
  next();
  if (std::ranges::count(kTypes, token_.text) != 0) {
    expr.generic = token_.text;
    next();
    if (accept(">")) {
      if (!is("(")) expected("'('");
      return call(std::move(expr));
    }
    expr.generic.clear();  // n < scalar(m)
  }
  lexer_ = lexer;
  token_ = token;
  return expr;
}

// "(" [argument ("," argument)*] ")", where argument ::= [name "="] expression.
Expr Parser::call(Expr callee) {
  const Level level(*this);
  callee.kind = Kind::call;
  next();
  while (!is(")")) {
    if (!callee.items.empty()) expect(",");
    // "name =" makes it a named argument; a name alone starts an expression.
    std::string name;
    if (token_.kind == Token::Kind::identifier) {
      const Lexer lexer = lexer_;
      const Token token = token_;
      next();
      if (is("=")) {
        name = token.unescaped;
        next();
      } else {
        lexer_ = lexer;
        token_ = token;
      }
    }
    callee.names.push_back(std::move(name));
    callee.items.push_back(expression());
  }
  next();
  return finish(std::move(callee));
}

// Parentheses around one expression leave no trace in the tree.
Expr Parser::parenthesised() {
  const Level level(*this);
  Expr tuple = start(Kind::tuple);
  next();
  if (accept(")")) return tuple;
  Expr first = expression();
  if (accept(")")) return first;
  tuple.items.push_back(std::move(first));
  while (!is(")")) {
    expect(",");
    tuple.items.push_back(expression());
  }
  next();
  return finish(std::move(tuple));
}

Expr Parser::bracketed() {
  const Level level(*this);
  Expr array = start(Kind::array);
  next();
  if (is_word("for")) return comprehension(std::move(array));
  while (!is("]")) {
    if (!array.items.empty()) expect(",");
    array.items.push_back(expression());
  }
  next();
  return finish(std::move(array));
}

// "[" "for" target "in" items ("," target "in" items)* ["if" condition] "yield" value "]"
Expr Parser::comprehension(Expr expr) {
  expr.kind = Kind::comprehension;
  next();
  std::vector<Expr> iterables;
  do {
    if (is("[")) expected("a loop variable");
    expr.items.push_back(single_target());
    expect_word("in");
    // Not expression(): an "if" here starts the condition.
    iterables.push_back(binary(0));
  } while (accept(","));
  expr.names.resize(iterables.size());
  std::ranges::move(iterables, std::back_inserter(expr.items));
  if (is_word("if")) {
    next();
    expr.items.push_back(binary(0));
  }
  expect_word("yield");
  expr.items.push_back(expression());
  expect("]");
  return finish(std::move(expr));
}

}  // namespace espalier::nnef
