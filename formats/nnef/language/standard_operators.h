#pragma once

#include <string_view>
#include <vector>

#include "formats/nnef/language/document.h"

namespace espalier::nnef {

/// The declaration of an operator of NNEF 1.0.5 or of tract_core, or null. One with a body is
/// compound: where it has no translator it is expanded.
const Fragment* find_standard_operator(std::string_view name);

/// All of them, sorted by name.
const std::vector<Fragment>& standard_operators();

}  // namespace espalier::nnef
