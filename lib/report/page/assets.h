#pragma once

#include <string_view>

namespace espalier {

/// The files next to this one, which the build embeds (CMakeLists.txt).
extern const std::string_view page_style, page_script;
/// uPlot, which draws the charts, and its licence, which goes along with it.
extern const std::string_view uplot_style, uplot_script, uplot_licence;

}  // namespace espalier
