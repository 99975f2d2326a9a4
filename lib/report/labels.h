#pragma once

#include <string>
#include <vector>

namespace espalier {

/// Distinct labels of a table's rows in at most `width` columns of a terminal (at least 8), still
/// distinct: the part of their names that all begin with gives way first ("…" for
/// "model.encoder."), then the front of each, then its middle. Labels that remain equal are
/// numbered.
std::vector<std::string> fitting_labels(const std::vector<std::string>& labels, size_t width);

}  // namespace espalier
