#include "lib/base/replace_folder.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "lib/base/file_sync.h"
#include "lib/base/temporaries.h"

namespace espalier {
void replace_folder_in_two_steps(const std::filesystem::path& made,
                                 const std::filesystem::path& target) {
  const SignalsDeferred deferred;  // while no folder has the target's name
  std::filesystem::path aside = made;
  aside += ".old";
  if (::rename(target.c_str(), aside.c_str()) != 0) throw_errno(target, "cannot be replaced");
  if (::rename(made.c_str(), target.c_str()) != 0) {
    const int error = errno;
    ::rename(aside.c_str(), target.c_str());
    errno = error;
    throw_errno(target, "cannot be replaced");
  }
  // Under the name of `made` it is removed like after an exchange, by a signal too.
  ::rename(aside.c_str(), made.c_str());
}

void replace_folder(const std::filesystem::path& made, const std::filesystem::path& target) {
  if (::rename(made.c_str(), target.c_str()) == 0) return;
  if (errno != EEXIST && errno != ENOTEMPTY && errno != ENOTDIR)
    throw_errno(target, "cannot be moved to its final name");
  if (renameat2(AT_FDCWD, made.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) == 0) return;
  replace_folder_in_two_steps(made, target);
}

}  // namespace espalier
