#include "formats/nnef/operator_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "formats/nnef/language/standard_operators.h"
#include "formats/nnef/read/call.h"
#include "formats/nnef/write/operators.h"

namespace espalier::nnef {
namespace {

bool is_of_tract(std::string_view name) { return name.starts_with("tract_"); }

void append(std::string& list, std::string_view name) {
  if (!list.empty()) list += ' ';
  list += name;
}

// Operators and infix symbols of an expression.
void collect(const Expr& expr, std::set<std::string>& names) {
  const bool is_operator =
      expr.kind == Expr::Kind::call && find_standard_operator(expr.text) != nullptr;
  if (is_operator || expr.kind == Expr::Kind::binary || expr.kind == Expr::Kind::unary) {
    names.insert(expr.text);
  }
  for (const Expr& item : expr.items) collect(item, names);
}

std::string body_of(const Fragment& fragment) {
  std::set<std::string> names;
  if (fragment.body) {
    for (const Assignment& assignment : *fragment.body) collect(assignment.value, names);
  }
  return fmt::format("{}", fmt::join(names, " "));
}

}  // namespace

std::vector<WrittenOperator> written_operators() {
  std::vector<WrittenOperator> result;
  for (const Spelling& spelling : spellings()) {
    WrittenOperator row;
    row.onnx = spelling.onnx;
    std::string_view rest = spelling.nnef;
    while (!rest.empty()) {
      const std::string_view name = rest.substr(0, rest.find(' '));
      append(is_of_tract(name) ? row.tract : row.standard, name);
      rest.remove_prefix(std::min(rest.size(), name.size() + 1));
    }
    result.push_back(std::move(row));
  }
  for (const std::string_view name : constant_folded_operators()) {
    const auto found = std::ranges::find(result, name, &WrittenOperator::onnx);
    if (found != result.end()) {
      found->is_computed = true;
    } else {
      result.push_back({std::string(name), "", "", true});
    }
  }
  std::ranges::sort(result, {}, &WrittenOperator::onnx);
  return result;
}

std::vector<ReadOperator> read_operators() {
  std::vector<ReadOperator> result;
  for (const Fragment& fragment : standard_operators()) {
    const Translator* translator = find_translator(fragment.name);
    result.push_back({fragment.name, !is_of_tract(fragment.name),
                      translator == nullptr ? "" : std::string(translator->onnx),
                      body_of(fragment)});
  }
  return result;
}

}  // namespace espalier::nnef
