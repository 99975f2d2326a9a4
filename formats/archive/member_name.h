#pragma once

#include <string>
#include <string_view>

namespace espalier {

/// `name` without "." parts and doubled slashes.
/// Errors  Fault::kFormat: empty, absolute, or with "..".
std::string normalised_name(std::string_view name);

}  // namespace espalier
