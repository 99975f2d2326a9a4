#include "formats/archive/member_name.h"

#include "lib/base/error.h"

namespace espalier {

std::string normalised_name(std::string_view name) {
  if (name.starts_with('/'))
    throw Error(Fault::kFormat, "name is absolute, expected a path inside the model's folder");
  std::string result;
  while (!name.empty()) {
    const std::string_view part = name.substr(0, name.find('/'));
    name.remove_prefix(std::min(name.size(), part.size() + 1));
    if (part == "..")
      throw Error(Fault::kFormat, "name has a '..', expected a path inside the model's folder");
    if (part.empty() || part == ".") continue;
    if (!result.empty()) result += '/';
    result += part;
  }
  if (result.empty()) throw Error(Fault::kFormat, "name is empty");
  return result;
}

}  // namespace espalier
