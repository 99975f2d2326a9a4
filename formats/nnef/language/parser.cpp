#include "formats/nnef/language/parser.h"

#include <fmt/format.h>

#include <set>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/limits.h"

namespace espalier::nnef {
namespace {

using Kind = Expr::Kind;

constexpr size_t kMaxText = limits::nnef_text_bytes;
static_assert(Expr::kMaxDepth == limits::nnef_nesting);

void check_size(std::string_view text) {
  if (text.size() > kMaxText) {
    throw Error(Fault::kUnsupported,
                fmt::format("the text has {} bytes, expected at most {}", text.size(), kMaxText));
  }
}

}  // namespace

void Parser::expected(std::string_view what) const {
  const std::string found = token_.kind == Token::Kind::end
                                ? "the end of the text"
                                : fmt::format("'{}'", printable(token_.text, 40));
  fail_at(token_.at, fmt::format("expected {}, found {}", what, found));
}

Parser::Level::Level(Parser& parser) : depth(parser.depth_) {
  if (++depth > Expr::kMaxDepth) {
    fail_at(parser.token_.at,
            fmt::format("expressions are nested deeper than {}", Expr::kMaxDepth));
  }
}

void Parser::expect(std::string_view symbol) {
  if (!accept(symbol)) expected(fmt::format("'{}'", symbol));
}

void Parser::expect_word(std::string_view word) {
  if (!is_word(word)) expected(fmt::format("'{}'", word));
  next();
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

// fragment ::= "fragment" name ["<" "?" ["=" type] ">"] parameters "->" results (body | ";")
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

// type ::= "(" type ("," type)* ")" | "?" | "tensor" "<" [name] ">" | name, then any number of
// "[]".
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
