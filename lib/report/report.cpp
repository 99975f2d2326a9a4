#include "lib/report/report.h"

#include <array>

#include "lib/report/results.h"

namespace espalier {

std::span<const Section* const> sections() {
  static constexpr std::array kSections{
#define ESPALIER_SECTION(name) &name##_section,
#include "lib/report/sections.def"
  };
  return kSections;
}

std::span<const Renderer* const> renderers() {
  static constexpr std::array kRenderers{
#define ESPALIER_RENDERER(name) &name##_renderer,
#include "lib/report/renderers.def"
  };
  return kRenderers;
}

const Renderer* find_renderer(std::string_view name) {
  for (const Renderer* renderer : renderers()) {
    if (renderer->name == name) return renderer;
  }
  return nullptr;
}

Report make_report(const Results& results) {
  Report report;
  report.title = "espalier " + results.command;
  for (const Section* section : sections()) section->add(results, report);
  return report;
}

}  // namespace espalier
