// Extents that are not known while reading, as tensors: formulas over symbols, elements of tensors.
#include <algorithm>
#include <charconv>

#include "formats/nnef/read/call.h"
#include "formats/nnef/read/data_type.h"

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

TensorRef as_i64(const Call& call, const TensorRef& tensor) {
  if (call.graph.dtype(tensor) == DType::kI64) return tensor;
  return call.graph.node("Cast", {tensor}, {DType::kI64, call.graph.shape(tensor)},
                         {attribute("to", onnx_type(DType::kI64))});
}

namespace {

// The tensor that `extents` are, one by one.
std::optional<TensorRef> whole_tensor(const Call& call, const std::vector<Extent>& extents) {
  if (extents.empty() || extents[0].tensor.id == kNoValue) return std::nullopt;
  const Shape whole = {static_cast<int64_t>(extents.size())};
  const TensorRef& tensor = extents[0].tensor;
  for (size_t i = 0; i < extents.size(); ++i) {
    const bool fits =
        extents[i].tensor.id == tensor.id && extents[i].place == static_cast<int64_t>(i);
    if (!fits) return std::nullopt;
  }
  if (call.graph.shape(tensor) != whole) return std::nullopt;
  return tensor;
}

// One extent as a tensor [1].
TensorRef extent_tensor(const Call& call, const Extent& extent) {
  if (extent.is_known()) return call.graph.integers("extent", {extent.value});
  if (!extent.formula.empty()) {
    call.reading.budget.spend(extent.formula.size());
    return Formula(call, extent.formula).value();
  }
  const TensorRef integers = as_i64(call, extent.tensor);
  const Shape shape = call.shape(integers);
  if (shape == Shape{1}) return integers;
  if (shape.empty()) {
    return call.graph.node("Unsqueeze", {integers, call.graph.integers("axes", {0})},
                           {DType::kI64, Shape{1}});
  }
  return call.graph.node("Gather", {integers, call.graph.integers("place", {extent.place})},
                         {DType::kI64, Shape{1}}, {attribute("axis", int64_t{0})});
}

}  // namespace

TensorRef extents_tensor(const Call& call, std::string_view what,
                         const std::vector<Extent>& extents) {
  if (std::ranges::all_of(extents, &Extent::is_known)) {
    std::vector<int64_t> values;
    for (const Extent& extent : extents) values.push_back(extent.value);
    return call.graph.integers(what, values);
  }
  if (const std::optional<TensorRef> whole = whole_tensor(call, extents)) {
    return as_i64(call, *whole);
  }
  std::vector<TensorRef> parts;
  for (const Extent& extent : extents) parts.push_back(extent_tensor(call, extent));
  if (parts.size() == 1) return parts[0];
  return call.graph.node("Concat", parts, {DType::kI64, Shape{static_cast<int64_t>(parts.size())}},
                         {attribute("axis", int64_t{0})});
}

}  // namespace espalier::nnef
