#include "lib/base/file_identity.h"

#include <sys/stat.h>

#include <optional>
#include <utility>

namespace espalier {
namespace {

namespace fs = std::filesystem;

using Id = std::pair<dev_t, ino_t>;

std::optional<Id> id_of(const fs::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return std::nullopt;
  return Id(status.st_dev, status.st_ino);
}

bool is_below(fs::path path, const Id& folder) {
  while (path.has_relative_path()) {
    path = path.parent_path();
    if (id_of(path) == folder) return true;
  }
  return false;
}

bool replaces(const fs::path& target, const fs::path& file) {
  const std::optional<Id> id = id_of(target);
  if (!id) return false;
  if (id_of(file) == id) return true;
  std::error_code fault;
  if (!fs::is_directory(target, fault)) return false;
  // As it was named, and where it really is: a link below the folder goes with it.
  const fs::path named = fs::absolute(file, fault);
  if (!fault && is_below(named, *id)) return true;
  const fs::path real = fs::canonical(file, fault);
  return !fault && is_below(real, *id);
}

}  // namespace

bool same_file(const fs::path& a, const fs::path& b) {
  const std::optional<Id> id = id_of(a);
  return id && id == id_of(b);
}

bool would_replace(const fs::path& target, const fs::path& file) {
  if (target.empty() || file.empty()) return false;
  // Folders are written under their tidy name, in which "link/.." is no step.
  std::error_code fault;
  const fs::path tidy = fs::absolute(target, fault).lexically_normal();
  return replaces(target, file) || (!fault && replaces(tidy, file));
}

}  // namespace espalier
