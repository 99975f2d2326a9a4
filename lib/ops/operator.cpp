#include "lib/ops/operator.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "lib/ops/composites.h"

namespace espalier {

std::span<const Operator* const> operators() {
  static constexpr std::array kOperators{
#define ESPALIER_OPERATOR(name) &name##_operator,
#include "lib/ops/operators.def"
  };
  return kOperators;
}

const Operator* find_operator(std::string_view op, std::string_view domain) {
  using Key = std::pair<std::string_view, std::string_view>;
  static const std::map<Key, const Operator*> kByName = [] {
    std::map<Key, const Operator*> result;
    for (const Operator* entry : operators())
      result.emplace(Key(entry->domain, entry->name), entry);
    for (const Operator& entry : composite_operators())
      result.emplace(Key(entry.domain, entry.name), &entry);
    return result;
  }();
  const auto found = kByName.find({domain == "ai.onnx" ? std::string_view() : domain, op});
  return found == kByName.end() ? nullptr : found->second;
}

}  // namespace espalier
