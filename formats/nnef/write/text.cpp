#include "formats/nnef/write/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "lib/base/check.h"
#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

bool is_identity(const std::vector<int64_t>& axes) {
  for (size_t i = 0; i < axes.size(); ++i) {
    if (axes[i] != static_cast<int64_t>(i)) return false;
  }
  return true;
}

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// Calls visit(word, is_called) for each identifier outside of string literals.
template <typename Visit>
void for_each_word(std::string_view text, const Visit& visit) {
  char quote = '\0';
  for (size_t i = 0; i < text.size(); ++i) {
    if (quote != '\0') {
      if (text[i] == '\\') {
        ++i;
      } else if (text[i] == quote) {
        quote = '\0';
      }
    } else if (text[i] == '\'' || text[i] == '"') {
      quote = text[i];
    } else if (is_word(text[i])) {
      size_t end = i;
      while (end < text.size() && is_word(text[end])) ++end;
      const bool is_called = end < text.size() && (text[end] == '(' || text[end] == '<');
      visit(std::string(text.substr(i, end - i)), is_called);
      i = end - 1;
    }
  }
}

// Whether more than one operator is called.
bool nests_calls(std::string_view text) {
  size_t calls = 0;
  char quote = '\0', before = ' ';
  for (const char c : text) {
    if (quote != '\0') {
      if (c == quote) quote = '\0';
    } else if (c == '\'' || c == '"') {
      quote = c;
    } else if (c == '(' && (is_word(before) || before == '>')) {
      ++calls;
    }
    before = c;
  }
  return calls > 1;
}

bool is_external(std::string_view expression) {
  return expression.starts_with("external") || expression.starts_with("tract_core_external");
}

}  // namespace

void GraphText::assign(std::span<const std::string> ids, std::string expression) {
  assignments_.push_back({{ids.begin(), ids.end()}, std::move(expression), owner_});
}

Wire GraphText::assign(std::string id, std::string expression, std::optional<Extents> extents,
                       DType dtype) {
  assignments_.push_back({{id}, std::move(expression), owner_});
  return {std::move(id), std::move(extents), dtype};
}

const GraphText::Origin* GraphText::origin(const Wire& wire, Origin::Kind kind) const {
  const auto found = origins_.find(wire.id);
  return found != origins_.end() && found->second.kind == kind ? &found->second : nullptr;
}

std::string GraphText::name_after(const Wire& input, std::string id, std::string_view suffix) {
  return id.empty() ? fresh(fmt::format("{}_{}", input.id, suffix)) : std::move(id);
}

Wire GraphText::transpose(const Wire& input, const std::vector<int64_t>& axes, std::string id) {
  if (is_identity(axes)) return input;
  if (const Origin* before = origin(input, Origin::Kind::transpose)) {
    std::vector<int64_t> both;
    both.reserve(axes.size());
    for (const int64_t axis : axes) both.push_back(before->axes[static_cast<size_t>(axis)]);
    return transpose(Wire(before->input), both, std::move(id));
  }
  std::optional<Extents> extents;
  if (input.extents) {
    extents.emplace();
    for (const int64_t axis : axes) extents->push_back((*input.extents)[static_cast<size_t>(axis)]);
  }
  id = name_after(input, std::move(id), "transposed");
  origins_[id] = {Origin::Kind::transpose, input, axes};
  return assign(id, fmt::format("transpose({}, axes = {})", input.id, list(axes)), extents,
                input.dtype);
}

Wire GraphText::unsqueeze(const Wire& input, const std::vector<int64_t>& axes, std::string id) {
  if (axes.empty()) return input;
  const Origin* before = origin(input, Origin::Kind::squeeze);
  if (before != nullptr && before->axes == axes) return before->input;
  std::optional<Extents> extents = input.extents;
  for (const int64_t axis : axes) {
    if (extents) extents->insert(extents->begin() + axis, Dim(1));
  }
  id = name_after(input, std::move(id), "unsqueezed");
  origins_[id] = {Origin::Kind::unsqueeze, input, axes};
  return assign(id, fmt::format("unsqueeze({}, axes = {})", input.id, list(axes)), extents,
                input.dtype);
}

Wire GraphText::squeeze(const Wire& input, const std::vector<int64_t>& axes, std::string id) {
  if (axes.empty()) return input;
  const Origin* before = origin(input, Origin::Kind::unsqueeze);
  if (before != nullptr && before->axes == axes) return before->input;
  std::optional<Extents> extents;
  if (input.extents) extents.emplace();
  for (size_t i = 0; input.extents && i < input.extents->size(); ++i) {
    if (std::ranges::find(axes, static_cast<int64_t>(i)) == axes.end()) {
      extents->push_back((*input.extents)[i]);
    }
  }
  id = name_after(input, std::move(id), "squeezed");
  origins_[id] = {Origin::Kind::squeeze, input, axes};
  return assign(id, fmt::format("squeeze({}, axes = {})", input.id, list(axes)), extents,
                input.dtype);
}

Wire GraphText::slice(const Wire& input, int64_t axis, int64_t begin, int64_t end, std::string id) {
  ESPALIER_CHECK(input.extents.has_value() && 0 <= begin && begin <= end);
  Extents extents = *input.extents;
  if (begin == 0 && extents[static_cast<size_t>(axis)].is(end)) return input;
  extents[static_cast<size_t>(axis)] = Dim(end - begin);
  return assign(
      name_after(input, std::move(id), "slice"),
      fmt::format("slice({}, axes = [{}], begin = [{}], end = [{}])", input.id, axis, begin, end),
      extents, input.dtype);
}

GraphText::Body GraphText::body(std::span<const std::string> outputs) const {
  std::set<std::string> needed(outputs.begin(), outputs.end());
  std::vector<std::string> lines;
  Body body;
  for (auto line = assignments_.rbegin(); line != assignments_.rend(); ++line) {
    const bool is_needed =
        std::ranges::any_of(line->ids, [&](const std::string& id) { return needed.contains(id); });
    if (!is_needed && !is_external(line->expression)) continue;
    for_each_word(line->expression, [&](std::string word, bool is_called) {
      if (is_called && word.starts_with("tract_")) {
        body.tract_operator = word;
        body.tract_owner = line->owner;
      }
      needed.insert(std::move(word));
    });
    body.nests = body.nests || nests_calls(line->expression);
    body.ids.insert(line->ids.begin(), line->ids.end());
    const bool several = line->ids.size() > 1;
    lines.push_back(fmt::format("    {}{}{} = {};\n", several ? "( " : "",
                                fmt::join(line->ids, ", "), several ? " )" : "", line->expression));
  }
  for (auto line = lines.rbegin(); line != lines.rend(); ++line) body.text += *line;
  return body;
}

std::string list(std::span<const int64_t> values) {
  return fmt::format("[{}]", fmt::join(values, ", "));
}

std::string literal(float value) {
  if (!std::isfinite(value)) {
    throw Error(Fault::kUnsupported, fmt::format("NNEF has no literal for {}", value));
  }
  std::string text = fmt::format("{}", value);
  std::erase(text, '+');  // tract before 0.23 stops at one in an exponent
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

}  // namespace espalier::nnef
