#pragma once

#include <string>
#include <vector>

namespace espalier {

/// "a, b, c and 4 more": the first `most` of some names, printable, each of at most `bytes`.
std::string name_list(const std::vector<std::string>& names, size_t most = 3, size_t bytes = 60);

}  // namespace espalier
