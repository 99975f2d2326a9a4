#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace espalier {

/// Scores that were made before of the same model, by the same statistics. `what` says the rest that
/// they follow from: layer, method and block.
struct ScoreStore {
  std::function<std::optional<std::vector<float>>(const std::string& what)> find;
  std::function<void(const std::string& what, std::span<const float> scores)> keep;
};

}  // namespace espalier
