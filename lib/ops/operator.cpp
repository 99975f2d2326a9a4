#include "lib/ops/operator.h"

#include <algorithm>
#include <array>
#include <map>

namespace espalier {

std::span<const Operator* const> operators() {
  static constexpr std::array kOperators{
#define ESPALIER_OPERATOR(name) &name##_operator,
#include "lib/ops/operators.def"
  };
  return kOperators;
}

const Operator* find_operator(std::string_view op, std::string_view domain) {
  static const std::map<std::string_view, const Operator*> kByName = [] {
    std::map<std::string_view, const Operator*> result;
    for (const Operator* entry : operators()) result.emplace(entry->name, entry);
    return result;
  }();
  if (!domain.empty() && domain != "ai.onnx") return nullptr;
  const auto found = kByName.find(op);
  return found == kByName.end() ? nullptr : found->second;
}

}  // namespace espalier
