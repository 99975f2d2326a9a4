#pragma once

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>

namespace espalier {

/// A file or folder of the shared material that lies beside the source tree ($ESPALIER_SHARED names
/// another place). Nothing, and one line on stdout, where it is not there: the test is skipped
/// then.
inline std::optional<std::filesystem::path> shared_path(const std::filesystem::path& name) {
  const char* elsewhere = std::getenv("ESPALIER_SHARED");
  const std::filesystem::path path =
      std::filesystem::path(elsewhere != nullptr ? elsewhere : ESPALIER_SOURCE_DIR "/../shared") /
      name;
  if (std::filesystem::exists(path)) return path;
  std::printf("skipped: shared file %s is not there\n", name.c_str());
  return std::nullopt;
}

}  // namespace espalier
