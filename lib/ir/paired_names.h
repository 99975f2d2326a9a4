#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

namespace espalier {

/// What a format with narrower identifiers (NNEF) may make of a name: all but letters and digits is
/// '_'.
std::string mangled_name(const std::string& name);

/// For each of `a` the index of the name in `b` that means the same: the same one; or one that such a
/// format makes equal, by replaced characters or by a number at the end of the second of two names
/// that differ in case alone. Each of `b` is taken once; nullopt where there is none.
std::vector<std::optional<size_t>> paired_names(std::span<const std::string> a,
                                                std::span<const std::string> b);

}  // namespace espalier
