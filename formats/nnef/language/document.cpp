#include "formats/nnef/language/document.h"

#include <fmt/format.h>

#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

using Kind = Expr::Kind;

void append(std::string& out, const Expr& expr);

void append_list(std::string& out, const Expr& expr, std::string_view open,
                 std::string_view close) {
  out += open;
  for (size_t i = 0; i < expr.items.size(); ++i) {
    if (i > 0) out += ", ";
    if (i < expr.names.size() && !expr.names[i].empty()) out += expr.names[i] + " = ";
    append(out, expr.items[i]);
  }
  out += close;
}

// With parentheses where it is more than one token, so that precedence never matters.
void append_operand(std::string& out, const Expr& expr) {
  const bool bare =
      expr.kind != Kind::binary && expr.kind != Kind::unary && expr.kind != Kind::if_else;
  if (!bare) out += '(';
  append(out, expr);
  if (!bare) out += ')';
}

void append_comprehension(std::string& out, const Expr& expr) {
  out += "[for ";
  const size_t loops = expr.names.size();
  for (size_t i = 0; i < loops; ++i) {
    if (i > 0) out += ", ";
    append(out, expr.items[i]);
    out += " in ";
    append_operand(out, expr.items[loops + i]);
  }
  if (expr.items.size() == 2 * loops + 2) {
    out += " if ";
    append_operand(out, expr.items[2 * loops]);
  }
  out += " yield ";
  append(out, expr.items.back());
  out += ']';
}

// Appends the text of an expression and of all expressions in it.
void append(std::string& out, const Expr& expr) {
  switch (expr.kind) {
    case Kind::nothing:
      break;
    case Kind::identifier:
    case Kind::number:
    case Kind::logical:
      out += expr.text;
      break;
    case Kind::string:
      out += quoted(expr.text);
      break;
    case Kind::array:
      append_list(out, expr, "[", "]");
      break;
    case Kind::tuple:
      append_list(out, expr, "(", ")");
      break;
    case Kind::call:
      out += expr.text;
      if (!expr.generic.empty()) out += '<' + expr.generic + '>';
      append_list(out, expr, "(", ")");
      break;
    case Kind::subscript:
    case Kind::range:
      append_operand(out, expr.items[0]);
      out += '[';
      append(out, expr.items[1]);
      if (expr.kind == Kind::range) {
        out += ':';
        append(out, expr.items[2]);
      }
      out += ']';
      break;
    case Kind::unary:
      out += expr.text;
      append_operand(out, expr.items[0]);
      break;
    case Kind::binary:
      append_operand(out, expr.items[0]);
      out += ' ' + expr.text + ' ';
      append_operand(out, expr.items[1]);
      break;
    case Kind::if_else:
      append_operand(out, expr.items[0]);
      out += " if ";
      append_operand(out, expr.items[1]);
      out += " else ";
      append_operand(out, expr.items[2]);
      break;
    case Kind::comprehension:
      append_comprehension(out, expr);
      break;
  }
}

// Item types of tensors are left out: tract looks at none of them.
std::string shape_of(const Type& type) {
  if (type.kind == Type::Kind::tensor) return "tensor";
  if (type.kind == Type::Kind::primitive) return type.name;
  if (type.kind == Type::Kind::array) return shape_of(type.items[0]) + "[]";
  std::string out = "(";
  for (const Type& item : type.items) out += shape_of(item) + ",";
  return out + ")";
}

std::string canonical(const Fragment& fragment) {
  std::string out;
  for (const auto* list : {&fragment.parameters, &fragment.results}) {
    for (const Parameter& parameter : *list) {
      out += fmt::format("{}:{}", parameter.name, shape_of(parameter.type));
      if (parameter.fallback) out += " = " + print(*parameter.fallback);
      out += ',';
    }
    out += "->";
  }
  if (!fragment.body) return out + ";";
  for (const Assignment& assignment : *fragment.body) {
    out += fmt::format("{} = {};", print(assignment.target), print(assignment.value));
  }
  return out;
}

}  // namespace

std::string print(const Expr& expr) {
  std::string out;
  append(out, expr);
  return out;
}

std::string print(const Type& type) {
  if (type.kind == Type::Kind::primitive) return type.name;
  if (type.kind == Type::Kind::tensor) return fmt::format("tensor<{}>", type.name);
  if (type.kind == Type::Kind::array) return print(type.items[0]) + "[]";
  std::string out = "(";
  for (size_t i = 0; i < type.items.size(); ++i) {
    out += (i > 0 ? ", " : "") + print(type.items[i]);
  }
  return out + ")";
}

bool same_meaning(const Fragment& a, const Fragment& b) { return canonical(a) == canonical(b); }

std::string quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'' || c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "'";
}

// Copies the text and replaces each $N outside of string literals.
std::string fill_invocation(std::string_view extra, std::span<const std::string> inputs) {
  std::string out;
  char quote = '\0';
  for (size_t i = 0; i < extra.size(); ++i) {
    const char c = extra[i];
    if (quote != '\0') {
      if (c == '\\' && i + 1 < extra.size()) {
        out += c;
        out += extra[++i];
        continue;
      }
      if (c == quote) quote = '\0';
    } else if (c == '\'' || c == '"') {
      quote = c;
    } else if (c == '$') {
      size_t number = 0, digits = 0;
      while (i + 1 < extra.size() && extra[i + 1] >= '0' && extra[i + 1] <= '9' && digits < 9) {
        number = number * 10 + static_cast<size_t>(extra[++i] - '0');
        ++digits;
      }
      if (digits == 0 || number >= inputs.size()) {
        throw Error(Fault::kFormat, fmt::format("an NNEF operator refers to input {}, it has {}",
                                                number, inputs.size()));
      }
      out += inputs[number];
      continue;
    }
    out += c;
  }
  return out;
}

}  // namespace espalier::nnef
