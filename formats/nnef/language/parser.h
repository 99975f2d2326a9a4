#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "formats/nnef/language/document.h"
#include "formats/nnef/language/lexer.h"

namespace espalier::nnef {

/// The grammar of NNEF 1.0.5, chapter 2, by recursive descent: the document in parser.cpp,
/// expressions in parse_expressions.cpp. Built to reject malicious files: recursion stops at
/// Expr::kMaxDepth, the number of expressions is bounded.
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text), lexer_(text) {}

  Document document();
  Document fragments_only();
  std::vector<Quantization> quantization();

 private:
  /// Counts how deep the parser has gone; an object lives as long as its level.
  struct Level {
    /// Errors  Fault::kFormat past Expr::kMaxDepth.
    explicit Level(Parser& parser);
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
  void expect(std::string_view symbol);
  void expect_word(std::string_view word);
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

  Expr start(Expr::Kind kind);
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

}  // namespace espalier::nnef
