#include "lib/ir/paired_names.h"

#include <array>
#include <cctype>
#include <map>

namespace espalier {
namespace {

std::string as_it_is(const std::string& name) { return name; }

// Without the _NUMBER that a writer adds where two names meet.
std::string without_number(const std::string& name) {
  const std::string mangled = mangled_name(name);
  const size_t end = mangled.find_last_not_of("0123456789");
  const bool numbered =
      end != std::string::npos && end > 0 && end + 1 != mangled.size() && mangled[end] == '_';
  return numbered ? mangled.substr(0, end) : mangled;
}

constexpr std::array<std::string (*)(const std::string&), 3> kKeys{as_it_is, mangled_name,
                                                                   without_number};

}  // namespace

std::string mangled_name(const std::string& name) {
  std::string result;
  for (const char c : name) {
    result += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  }
  return result;
}

// Pairs equal names first, then names that are equal once mangled, then without their numbers.
std::vector<std::optional<size_t>> paired_names(std::span<const std::string> a,
                                                std::span<const std::string> b) {
  std::vector<std::optional<size_t>> result(a.size());
  std::vector<bool> taken(b.size(), false);
  for (const auto& key : kKeys) {
    std::map<std::string, size_t> in_b;
    for (size_t i = 0; i < b.size(); ++i) {
      if (!taken[i]) in_b.emplace(key(b[i]), i);
    }
    for (size_t i = 0; i < a.size(); ++i) {
      if (result[i]) continue;
      const auto found = in_b.find(key(a[i]));
      if (found == in_b.end()) continue;
      result[i] = found->second;
      taken[found->second] = true;
      in_b.erase(found);
    }
  }
  return result;
}

}  // namespace espalier
