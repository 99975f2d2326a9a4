#pragma once

#include <string>
#include <string_view>

#include "formats/nnef/language/document.h"

namespace espalier::nnef {

struct Token {
  enum class Kind : uint8_t { identifier, number, string, symbol, end };
  Kind kind = Kind::end;
  Position at;
  std::string_view text;  ///< as written, quotes included
  std::string unescaped;  ///< of a string; name of an identifier
  size_t begin = 0;       ///< offset into the document
};

/// Bytes of the number without a sign (3.1, numeric literals) that the text begins with; 0: none.
size_t number_length(std::string_view text);

/// Cuts a document into tokens, one at a time; `#` comments go to the end of the line. Takes also
/// tract's escaped identifiers: i"name with anything".
class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  /// Errors  Fault::kFormat with line:column: a byte that starts nothing, a string without end.
  Token next();
  /// The text up to the next `;`, which is taken too: the line of an extension.
  std::string_view until_semicolon();
  size_t offset() const { return offset_; }

 private:
  char peek(size_t ahead = 0) const {
    return offset_ + ahead < text_.size() ? text_[offset_ + ahead] : '\0';
  }
  bool at_end() const { return offset_ >= text_.size(); }
  void advance();
  void skip_space();
  Token number(Token token);
  Token string(Token token);
  Token symbol(Token token);

  std::string_view text_;
  size_t offset_ = 0;
  Position at_;
};

/// Errors  always: Fault::kFormat, "line:column: text".
[[noreturn]] void fail_at(Position at, std::string_view text);

}  // namespace espalier::nnef
