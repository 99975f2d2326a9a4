#include "apps/espalier/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <optional>
#include <string>

namespace espalier {
namespace {

std::optional<size_t> known_width() {
  winsize size{};
  if (isatty(STDOUT_FILENO) != 0 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 &&
      size.ws_col != 0) {
    return size.ws_col;
  }
  const char* columns = std::getenv("COLUMNS");
  const size_t width = columns == nullptr ? 0 : std::strtoul(columns, nullptr, 10);
  return width == 0 ? std::nullopt : std::optional(width);
}

}  // namespace

RenderOptions terminal_options() {
  constexpr size_t kDefault = 110, kNarrowest = 60, kWidest = 200;
  const std::optional<size_t> width = known_width();
  return {.width = std::clamp(width.value_or(kDefault), kNarrowest, kWidest),
          .wrap = width.has_value(),
          .ascii = !locale_is_utf8()};
}

bool locale_is_utf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);
    if (value == nullptr || value[0] == '\0') continue;
    std::string text = value;
    std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
    return text.find("utf-8") != std::string::npos || text.find("utf8") != std::string::npos;
  }
  return false;
}

}  // namespace espalier
