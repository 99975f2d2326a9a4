#pragma once

#include <string>

#include "lib/report/report.h"

namespace espalier {

/// The table's plotted columns over its first one as an SVG picture with its own axes; "" where no
/// column has two points. Titles come out escaped.
std::string plot_svg(const Table& table);

/// Text for HTML and SVG: < > & and quotes escaped.
std::string escaped(std::string_view text);

}  // namespace espalier
