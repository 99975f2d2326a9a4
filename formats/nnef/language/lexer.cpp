#include "formats/nnef/language/lexer.h"

#include <fmt/format.h>

#include <array>

#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

}  // namespace

void fail_at(Position at, std::string_view text) {
  throw Error(Fault::kFormat, fmt::format("{}:{}: {}", at.line, at.column, text));
}

// Digits, then a fraction, then an exponent; tract also writes a point without digits after it.
size_t number_length(std::string_view text) {
  const auto at = [text](size_t i) { return i < text.size() ? text[i] : '\0'; };
  size_t length = 0;
  const auto skip_digits = [&] {
    while (is_digit(at(length))) ++length;
  };
  skip_digits();
  if (length == 0) return 0;
  if (at(length) == '.') {
    ++length;
    skip_digits();
  }
  const size_t sign = at(length + 1) == '+' || at(length + 1) == '-' ? 1 : 0;
  if ((at(length) == 'e' || at(length) == 'E') && is_digit(at(length + 1 + sign))) {
    length += 1 + sign;
    skip_digits();
  }
  return length;
}

void Lexer::advance() {
  if (text_[offset_++] == '\n') {
    ++at_.line;
    at_.column = 1;
  } else {
    ++at_.column;
  }
}

void Lexer::skip_space() {
  while (!at_end()) {
    if (is_space(peek())) {
      advance();
    } else if (peek() == '#') {
      while (!at_end() && peek() != '\n') advance();
    } else {
      return;
    }
  }
}

Token Lexer::next() {
  skip_space();
  Token token{.kind = Token::Kind::end, .at = at_, .text = {}, .unescaped = {}, .begin = offset_};
  if (at_end()) return token;
  const char c = peek();
  if (c == 'i' && (peek(1) == '"' || peek(1) == '\'')) {
    advance();
    token = string(token);
    token.kind = Token::Kind::identifier;
    return token;
  }
  if (is_letter(c)) {
    while (is_letter(peek()) || is_digit(peek())) advance();
    token.kind = Token::Kind::identifier;
    token.text = text_.substr(token.begin, offset_ - token.begin);
    token.unescaped = token.text;
    return token;
  }
  if (is_digit(c)) return number(token);
  if (c == '"' || c == '\'') return string(token);
  return symbol(token);
}

Token Lexer::number(Token token) {
  for (size_t left = number_length(text_.substr(offset_)); left > 0; --left) advance();
  if (is_letter(peek())) fail_at(at_, "a letter follows a number");
  token.kind = Token::Kind::number;
  token.text = text_.substr(token.begin, offset_ - token.begin);
  return token;
}

Token Lexer::string(Token token) {
  const char quote = peek();
  advance();
  while (peek() != quote) {
    if (at_end() || peek() == '\n') fail_at(token.at, "closing quote of a string is missing");
    if (peek() == '\\') advance();
    if (at_end()) fail_at(token.at, "closing quote of a string is missing");
    token.unescaped.push_back(peek());
    advance();
  }
  advance();
  token.kind = Token::Kind::string;
  token.text = text_.substr(token.begin, offset_ - token.begin);
  return token;
}

Token Lexer::symbol(Token token) {
  constexpr std::array<std::string_view, 7> kTwo = {"->", "<=", ">=", "==", "!=", "&&", "||"};
  constexpr std::string_view kOne = "(){}[]<>,;:=+-*/^!?";
  size_t length = 0;
  for (const std::string_view two : kTwo) {
    if (text_.substr(offset_, 2) == two) length = 2;
  }
  if (length == 0 && kOne.find(peek()) != std::string_view::npos) length = 1;
  if (length == 0) {
    fail_at(at_,
            fmt::format("'{}' is not a character of NNEF", printable(text_.substr(offset_, 1))));
  }
  for (size_t i = 0; i < length; ++i) advance();
  token.kind = Token::Kind::symbol;
  token.text = text_.substr(token.begin, length);
  return token;
}

std::string_view Lexer::until_semicolon() {
  const Position from = at_;
  const size_t begin = offset_;
  while (!at_end() && peek() != ';') advance();
  if (at_end()) fail_at(from, "';' of an extension line is missing");
  const std::string_view line = text_.substr(begin, offset_ - begin);
  advance();
  return line;
}

}  // namespace espalier::nnef
