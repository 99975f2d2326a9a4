// Operators that are kept as nodes of domain "nnef", with the text of their invocation, and the
// fragments that go with them.
#include <algorithm>

#include "formats/nnef/read/evaluator.h"

namespace espalier::nnef {
namespace {

using Kind = Expr::Kind;
using ValueKind = EvalValue::Kind;

size_t target_count(const Expr* target) {
  if (target == nullptr || target->kind == Kind::identifier) return 1;
  return target->items.size();
}

}  // namespace

// Operators of tract's registry that are newer than this table.
bool Evaluator::is_opaque(std::string_view name) const {
  const auto is_registry = [](const std::vector<std::string>& extension) {
    return extension[0] == "tract_registry";
  };
  return name.starts_with("tract_") &&
         std::ranges::any_of(reading_.document.extensions, is_registry);
}

// Makes a node of domain "nnef" whose extra text is the invocation, with $N for its inputs. It has
// as many results as its declaration says, or else as its target has.
EvalValue Evaluator::keep(const Expr& expr, const std::string& generic, const Arguments& arguments,
                          const Fragment* declaration, const Expr* target) {
  Node node;
  node.domain = "nnef";
  node.op = expr.text;
  std::vector<TensorRef> inputs;
  std::string text = expr.text;
  if (!generic.empty()) text += '<' + generic + '>';
  text += '(';
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (i > 0) text += ", ";
    if (!arguments[i].first.empty()) text += arguments[i].first + " = ";
    text += print(arguments[i].second, inputs);
  }
  node.extra = text + ')';
  reading_.budget.spend(node.extra.size());
  for (const auto& argument : arguments) {
    if (argument.second.kind == ValueKind::string) keep_fragment(argument.second.text);
  }
  keep_fragment(expr.text);
  keeps_operators_ = true;

  const bool one_array = declaration != nullptr && declaration->results.size() == 1 &&
                         declaration->results[0].type.kind == Type::Kind::array;
  size_t count = target_count(target);
  if (declaration != nullptr && !one_array) count = declaration->results.size();
  const bool is_target_array = target != nullptr && target->kind == Kind::array;
  std::vector<EvalValue> results;
  for (TensorRef& result :
       reading_.graph.node(std::move(node), inputs, std::vector<OutputInfo>(count))) {
    results.push_back(EvalValue::of_tensor(std::move(result)));
  }
  if (target_count(target) == 1 && results.size() == 1 && !is_target_array) return results[0];
  return EvalValue::of_list(one_array ? ValueKind::array : ValueKind::tuple, std::move(results),
                            expr.at);
}

// A kept operator needs its declaration, and a scan its body with all that it calls.
void Evaluator::keep_fragment(std::string_view name) {
  const Fragment* fragment = reading_.fragment(name);
  if (fragment == nullptr || !kept_fragments_.emplace(name).second) return;
  if (!fragment->body) return;
  std::vector<const Expr*> todo;
  for (const Assignment& assignment : *fragment->body) todo.push_back(&assignment.value);
  while (!todo.empty()) {
    const Expr* expr = todo.back();
    todo.pop_back();
    for (const Expr& item : expr->items) todo.push_back(&item);
    if ((expr->kind == Kind::call || expr->kind == Kind::string) && calls_ < kMaxCalls) {
      ++calls_;
      keep_fragment(expr->text);
      --calls_;
    }
  }
}

std::string Evaluator::kept_text() const {
  if (!keeps_operators_) return {};
  std::string out;
  for (const std::vector<std::string>& extension : reading_.document.extensions) {
    out += "extension";
    for (const std::string& word : extension) out += ' ' + word;
    out += ";\n";
  }
  for (const Fragment& fragment : reading_.document.fragments) {
    if (kept_fragments_.contains(fragment.name)) out += fragment.source + "\n";
  }
  return out;
}

}  // namespace espalier::nnef
