#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace espalier {

/// The name that was probably meant: the nearest of `names` to `text` by insertions, deletions,
/// replacements and swaps of neighbours (optimal string alignment), at most one for each three
/// characters; of equally near ones the first. nullopt where none is that near.
std::optional<std::string> nearest_name(std::string_view text, std::span<const std::string> names);

/// "; did you mean X?", or nothing: for the end of an error.
std::string did_you_mean(std::string_view text, std::span<const std::string> names);

}  // namespace espalier
