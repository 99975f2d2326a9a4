#include "apps/espalier/paths.h"

#include <fmt/format.h>

#include <filesystem>

#include "lib/base/error.h"
#include "lib/base/mapped_file.h"

namespace espalier {

namespace fs = std::filesystem;

void check_inputs_exist(std::initializer_list<std::string> paths) {
  for (const std::string& path : paths) {
    std::error_code ignored;
    if (path.empty() || fs::is_directory(path, ignored)) continue;
    MappedFile::open(path);
  }
}

void check_outputs_can_exist(std::initializer_list<std::string> paths) {
  for (const std::string& path : paths) {
    if (path.empty() || path == "-") continue;
    // A trailing slash names a folder: what must exist is the one around it.
    const fs::path file = path.ends_with('/') ? fs::path(path).parent_path() : fs::path(path);
    const fs::path folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
    std::error_code fault;
    if (fs::is_directory(folder, fault)) continue;
    if (!fault) fault = std::make_error_code(std::errc::not_a_directory);
    throw Error(Fault::kFormat,
                fmt::format("{}: cannot be written: {}", printable(path), fault.message()));
  }
}

}  // namespace espalier
