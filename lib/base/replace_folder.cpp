#include "lib/base/replace_folder.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>

#include "lib/base/file_sync.h"

namespace espalier {
namespace {

// Keeps signals from this thread while no folder has the target's name.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace

void replace_folder_in_two_steps(const std::filesystem::path& made,
                                 const std::filesystem::path& target) {
  const SignalsBlocked blocked;
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
