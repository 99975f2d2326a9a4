// Extents that depend on free dimensions, as tensors: their text is a formula over the symbols.
#include <algorithm>
#include <charconv>

#include "formats/nnef/call.h"

namespace espalier::nnef {
namespace {

// Where a tract_symbol can be looked up while the graph runs: an input that has it among its
// extents.
TensorRef symbol(const Call& call, std::string_view name) {
  for (const ValueId id : call.graph.inputs()) {
    const Value& input = call.graph.value(id);
    const auto found = std::ranges::find(input.dimension_names, name);
    if (found == input.dimension_names.end()) continue;
    const int64_t axis = found - input.dimension_names.begin();
    const auto rank = static_cast<int64_t>(input.shape->size());
    const TensorRef shape = call.graph.node("Shape", {{id, nullptr}}, {DType::kI64, Shape{rank}});
    return call.graph.node("Gather", {shape, call.graph.integers("axis", {axis})},
                           {DType::kI64, Shape{1}}, {attribute("axis", int64_t{0})});
  }
  throw NotTranslated{};
}

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// sum = product (+|- product)*, product = atom (*|/ atom)*, atom = integer | symbol | ( sum ); each
// gives a tensor [1]. The evaluator keeps the text short, so it nests little.
class Formula {
 public:
  Formula(const Call& call, std::string_view text) : call_(call), rest_(text) {}

  TensorRef value() {
    const TensorRef result = sum();
    if (!rest_.empty()) throw NotTranslated{};
    return result;
  }

 private:
  char next() {
    while (rest_.starts_with(' ')) rest_.remove_prefix(1);
    return rest_.empty() ? '\0' : rest_.front();
  }
  bool take(char c) {
    if (next() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  TensorRef node(std::string op, const TensorRef& a, const TensorRef& b) {
    return call_.graph.node(std::move(op), {a, b}, {DType::kI64, Shape{1}});
  }

  TensorRef sum() {
    TensorRef result = product();
    while (true) {
      if (take('+')) {
        result = node("Add", result, product());
      } else if (take('-')) {
        result = node("Sub", result, product());
      } else {
        return result;
      }
    }
  }
  TensorRef product() {
    TensorRef result = atom();
    while (true) {
      if (take('*')) {
        result = node("Mul", result, atom());
      } else if (take('/')) {
        result = node("Div", result, atom());
      } else {
        return result;
      }
    }
  }
  TensorRef atom() {
    if (take('(')) {
      const TensorRef result = sum();
      if (!take(')')) throw NotTranslated{};
      return result;
    }
    const bool negative = take('-');
    next();
    size_t size = 0;
    while (size < rest_.size() && is_word(rest_[size])) ++size;
    const std::string_view word = rest_.substr(0, size);
    rest_.remove_prefix(size);
    if (word.empty()) throw NotTranslated{};
    int64_t value = 0;
    const auto [end, fault] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (fault == std::errc() && end == word.data() + word.size()) {
      return call_.graph.integers("extent", {negative ? -value : value});
    }
    if (negative) throw NotTranslated{};
    return symbol(call_, word);
  }

  const Call& call_;
  std::string_view rest_;
};

}  // namespace

TensorRef extents_tensor(const Call& call, std::string_view what,
                         const std::vector<int64_t>& extents,
                         const std::vector<std::string>& names) {
  const auto is_free = [](const std::string& name) { return !name.empty(); };
  if (std::ranges::none_of(names, is_free)) return call.graph.integers(what, extents);
  std::vector<TensorRef> parts;
  for (size_t i = 0; i < extents.size(); ++i) {
    call.reading.budget.spend(names[i].size());
    parts.push_back(names[i].empty() ? call.graph.integers("extent", {extents[i]})
                                     : Formula(call, names[i]).value());
  }
  if (parts.size() == 1) return parts[0];
  return call.graph.node("Concat", parts, {DType::kI64, Shape{static_cast<int64_t>(parts.size())}},
                         {attribute("axis", int64_t{0})});
}

}  // namespace espalier::nnef
