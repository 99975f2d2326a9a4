#include "lib/base/file_sync.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "lib/base/error.h"

namespace espalier {
namespace {

void sync(const std::filesystem::path& path, int flags) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | flags);
  if (descriptor < 0) throw_errno(path, "cannot be opened");
  const int result = ::fsync(descriptor);
  const int error = errno;
  ::close(descriptor);
  // Some file systems cannot sync folders; there is nothing more to do then.
  if (result == 0 || error == EINVAL || error == ENOTSUP) return;
  errno = error;
  throw_errno(path, "cannot be written");
}

}  // namespace

void throw_errno(const std::filesystem::path& path, std::string_view what) {
  const int error = errno;
  throw Error(Fault::kFormat,
              fmt::format("{}: {}: {}", printable(path.string()), what, std::strerror(error)));
}

void sync_folder(const std::filesystem::path& folder) {
  sync(folder.empty() ? "." : folder, O_DIRECTORY);
}

void sync_tree(const std::filesystem::path& folder) {
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_symlink()) continue;
    sync(entry.path(), entry.is_directory() ? O_DIRECTORY : 0);
  }
  sync_folder(folder);
}

}  // namespace espalier
