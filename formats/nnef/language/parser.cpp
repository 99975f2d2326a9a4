// The grammar of NNEF 1.0.5, chapter 2, by recursive descent. Written to refuse what other files
// could do to it: recursion stops at Expr::kMaxDepth, the number of expressions is bounded.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <set>
#include <utility>

#include "formats/nnef/language/document.h"
#include "formats/nnef/language/lexer.h"
#include "lib/base/error.h"
#include "lib/base/limits.h"

namespace espalier::nnef {
namespace {

using Kind = Expr::Kind;

constexpr size_t kMaxText = limits::nnef_text_bytes;
constexpr size_t kMaxExpressions = limits::nnef_expressions;
static_assert(Expr::kMaxDepth == limits::nnef_nesting);

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text), lexer_(text) {}

  Document document();
  Document fragments_only();
  std::vector<Quantization> quantization();

 private:
  // Counts how deep the parser has gone; an object lives as long as its level.
  struct Level {
    explicit Level(Parser& parser) : depth(parser.depth_) {
      if (++depth > Expr::kMaxDepth) {
        fail_at(parser.token_.at,
                fmt::format("expressions are nested deeper than {}", Expr::kMaxDepth));
      }
    }
    ~Level() { --depth; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    uint32_t& depth;
  };

  void next() { token_ = lexer_.next(); }
  bool is(std::string_view symbol) const {
    return token_.kind == Token::Kind::symbol && token_.text == symbol;
  }
  bool is_word(std::string_view word) const {
    return token_.kind == Token::Kind::identifier && token_.text == word;
  }
  bool accept(std::string_view symbol) {
    if (!is(symbol)) return false;
    next();
    return true;
  }
  [[noreturn]] void expected(std::string_view what) const;
  void expect(std::string_view symbol) {
    if (!accept(symbol)) expected(fmt::format("'{}'", symbol));
  }
  void expect_word(std::string_view word) {
    if (!is_word(word)) expected(fmt::format("'{}'", word));
    next();
  }
  std::string identifier(std::string_view what);

  void extensions(Document& document);
  void fragments(Document& document);
  Fragment fragment();
  std::vector<Parameter> parameters(bool with_fallback);
  Type type();
  GraphDefinition graph();
  std::vector<std::string> identifiers();
  std::vector<Assignment> body();
  Expr target();
  Expr single_target();

  Expr start(Kind kind);
  Expr finish(Expr expr) const;
  Expr expression();
  Expr binary(size_t level);
  Expr unary();
  Expr postfix();
  Expr primary();
  Expr word();
  Expr call(Expr callee);
  Expr parenthesised();
  Expr bracketed();
  Expr comprehension(Expr expr);
  Expr subscript(Expr base);

  std::string_view text_;
  Lexer lexer_;
  Token token_;
  uint32_t depth_ = 0;
  size_t expressions_ = 0;
};

void Parser::expected(std::string_view what) const {
  const std::string found = token_.kind == Token::Kind::end
                                ? "the end of the text"
                                : fmt::format("'{}'", printable(token_.text, 40));
  fail_at(token_.at, fmt::format("expected {}, found {}", what, found));
}

std::string Parser::identifier(std::string_view what) {
  if (token_.kind != Token::Kind::identifier) expected(what);
  std::string name = token_.unescaped;
  next();
  return name;
}

Document Parser::document() {
  next();
  Document document;
  expect_word("version");
  if (token_.kind != Token::Kind::number) expected("a version number");
  document.version = token_.text;
  document.version_at = token_.at;
  if (document.version != "1.0" && document.version != "1") {
    fail_at(token_.at,
            fmt::format("NNEF version {} is not supported, expected 1.0", document.version));
  }
  next();
  expect(";");
  extensions(document);
  fragments(document);
  document.graph = graph();
  if (token_.kind != Token::Kind::end) expected("the end of the text");
  return document;
}

Document Parser::fragments_only() {
  next();
  Document document;
  extensions(document);
  fragments(document);
  if (token_.kind != Token::Kind::end) expected("a fragment or the end of the text");
  return document;
}

// quantization ::= (string ":" invocation ";")*
std::vector<Quantization> Parser::quantization() {
  std::vector<Quantization> result;
  std::set<std::string> tensors;
  next();
  while (token_.kind != Token::Kind::end) {
    Quantization entry;
    entry.at = token_.at;
    if (token_.kind != Token::Kind::string) expected("the quoted name of a tensor");
    entry.tensor = token_.unescaped;
    if (!tensors.insert(entry.tensor).second) {
      fail_at(entry.at, fmt::format("tensor '{}' has duplicate entries", printable(entry.tensor)));
    }
    next();
    expect(":");
    if (token_.kind != Token::Kind::identifier) expected("the name of a quantization operation");
    entry.operation = postfix();
    if (entry.operation.kind != Kind::call) {
      fail_at(entry.operation.at, "expected a quantization operation with its arguments");
    }
    for (const std::string& name : entry.operation.names) {
      if (name.empty()) fail_at(entry.operation.at, "arguments of a quantization must be named");
    }
    expect(";");
    result.push_back(std::move(entry));
  }
  return result;
}

// extension ::= "extension" identifier+ ";", and as tract has it: anything up to the semicolon.
void Parser::extensions(Document& document) {
  while (is_word("extension")) {
    const Position at = token_.at;
    std::vector<std::string> words(1);
    for (const char c : lexer_.until_semicolon()) {
      const bool space = c == ' ' || c == '\t' || c == '\r' || c == '\n';
      if (!space) words.back().push_back(c);
      if (space && !words.back().empty()) words.emplace_back();
    }
    if (words.back().empty()) words.pop_back();
    if (words.empty()) fail_at(at, "the name of an extension is missing");
    document.extensions.push_back(std::move(words));
    next();
  }
}

void Parser::fragments(Document& document) {
  while (is_word("fragment")) document.fragments.push_back(fragment());
}

Fragment Parser::fragment() {
  const size_t begin = token_.begin;
  Fragment fragment;
  fragment.at = token_.at;
  next();
  fragment.name = identifier("the name of a fragment");
  if (accept("<")) {
    expect("?");
    fragment.is_generic = true;
    if (accept("=")) fragment.generic_fallback = identifier("a type name");
    expect(">");
  }
  fragment.parameters = parameters(true);
  expect("->");
  fragment.results = parameters(false);
  // The token after the fragment is not read yet when its text ends.
  if (is("{")) {
    fragment.body = body();
  } else if (!is(";")) {
    expected("'{' or ';'");
  }
  fragment.source = text_.substr(begin, token_.begin + 1 - begin);
  next();
  return fragment;
}

std::vector<Parameter> Parser::parameters(bool with_fallback) {
  std::vector<Parameter> result;
  expect("(");
  while (!is(")")) {
    if (!result.empty()) expect(",");
    Parameter parameter;
    parameter.name = identifier("a parameter");
    expect(":");
    parameter.type = type();
    if (with_fallback && accept("=")) parameter.fallback = expression();
    result.push_back(std::move(parameter));
  }
  next();
  return result;
}

Type Parser::type() {
  const Level level(*this);
  Type result;
  if (accept("(")) {
    result.kind = Type::Kind::tuple;
    result.items.push_back(type());
    while (accept(",")) result.items.push_back(type());
    expect(")");
  } else if (accept("?")) {
    result.name = "?";
  } else {
    result.name = identifier("a type");
    if (result.name == "tensor") {
      result.kind = Type::Kind::tensor;
      result.name.clear();
      expect("<");
      if (accept("?")) {
        result.name = "?";
      } else if (!is(">")) {
        result.name = identifier("a type name");
      }
      expect(">");
    }
  }
  for (uint32_t depth = 0; accept("["); ++depth) {
    if (depth == 8) fail_at(token_.at, "the array has more than 8 dimensions");
    expect("]");
    Type array;
    array.kind = Type::Kind::array;
    array.items.push_back(std::move(result));
    result = std::move(array);
  }
  return result;
}

GraphDefinition Parser::graph() {
  GraphDefinition graph;
  graph.at = token_.at;
  expect_word("graph");
  graph.name = identifier("the name of the graph");
  graph.inputs = identifiers();
  expect("->");
  graph.outputs = identifiers();
  graph.body = body();
  next();
  return graph;
}

std::vector<std::string> Parser::identifiers() {
  std::vector<std::string> result;
  expect("(");
  while (!is(")")) {
    if (!result.empty()) expect(",");
    result.push_back(identifier("an identifier"));
  }
  next();
  return result;
}

// Leaves the closing brace as the current token.
std::vector<Assignment> Parser::body() {
  std::vector<Assignment> result;
  expect("{");
  while (!is("}")) {
    Assignment assignment;
    assignment.target = target();
    expect("=");
    assignment.value = expression();
    expect(";");
    result.push_back(std::move(assignment));
  }
  return result;
}

Expr Parser::target() {
  Expr first = single_target();
  if (!is(",")) return first;
  Expr tuple = start(Kind::tuple);
  tuple.at = first.at;
  tuple.items.push_back(std::move(first));
  while (accept(",")) tuple.items.push_back(single_target());
  return finish(std::move(tuple));
}

Expr Parser::single_target() {
  const Level level(*this);
  const bool array = is("[");
  if (!array && !is("(")) {
    Expr name = start(Kind::identifier);
    name.text = identifier("an identifier to assign to");
    return name;
  }
  Expr list = start(array ? Kind::array : Kind::tuple);
  next();
  const std::string_view close = array ? "]" : ")";
  while (!is(close)) {
    if (!list.items.empty()) expect(",");
    list.items.push_back(single_target());
  }
  if (list.items.empty()) fail_at(list.at, "the list of targets is empty");
  next();
  return finish(std::move(list));
}

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

void check_size(std::string_view text) {
  if (text.size() > kMaxText) {
    throw Error(Fault::kUnsupported,
                fmt::format("the text has {} bytes, expected at most {}", text.size(), kMaxText));
  }
}

}  // namespace

Document parse_document(std::string_view text) {
  check_size(text);
  return Parser(text).document();
}

std::vector<Quantization> parse_quantization(std::string_view text) {
  check_size(text);
  return Parser(text).quantization();
}

Document parse_fragments(std::string_view text) {
  check_size(text);
  return Parser(text).fragments_only();
}

}  // namespace espalier::nnef
