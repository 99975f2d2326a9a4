#include "lib/base/name_list.h"

#include <fmt/format.h>

#include "lib/base/error.h"

namespace espalier {

std::string name_list(const std::vector<std::string>& names, size_t most, size_t bytes) {
  std::string text;
  for (size_t i = 0; i < names.size() && i < most; ++i)
    text += (i == 0 ? "" : ", ") + printable(names[i], bytes);
  if (names.size() > most) text += fmt::format(" and {} more", names.size() - most);
  return text;
}

}  // namespace espalier
