#include "apps/espalier/version.h"

#include <fmt/format.h>

#include "commit.h"  // written by each build: cmake/commit.cmake
#include "lib/kernels/simd_target.h"

namespace espalier {
namespace {

std::string compiler() {
#if defined(__clang__)
  return __VERSION__;  // "Clang 14.0.6 ..." or "Debian Clang ..."
#else
  return "GCC " __VERSION__;
#endif
}

}  // namespace

std::vector<std::pair<std::string, std::string>> libraries() {
  std::vector<std::pair<std::string, std::string>> result;
  const std::string_view list = ESPALIER_LIBRARIES;  // "oneDNN 2.6,fmt 9.1.0"
  for (size_t begin = 0; begin < list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    const std::string_view entry = list.substr(begin, end - begin);
    const size_t blank = entry.find(' ');
    result.emplace_back(entry.substr(0, blank), entry.substr(blank + 1));
    begin = end + 1;
  }
  return result;
}

std::string commit() { return ESPALIER_COMMIT; }

std::string version_text() {
  std::string names;
  for (const auto& [name, version] : libraries())
    names += fmt::format("{}{} {}", names.empty() ? "" : ", ", name, version);
  return fmt::format(
      "espalier {}\ncommit {}\ncompiler {}\ninstruction sets of this machine {}\nlibraries {}",
      ESPALIER_VERSION, commit(), compiler(), fmt::join(simd_targets(), ", "), names);
}

}  // namespace espalier
