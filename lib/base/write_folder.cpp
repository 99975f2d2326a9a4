#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>

#include "lib/base/file_sync.h"
#include "lib/base/output_file.h"
#include "lib/base/temporaries.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

// "out/" and "./out" are "out"; what is left has a name.
fs::path tidy(const fs::path& target) {
  fs::path path = fs::absolute(target).lexically_normal();
  return path.has_filename() ? path : path.parent_path();
}

[[noreturn]] void refuse(const fs::path& target, std::string_view why) {
  throw Error(Fault::kFormat, fmt::format("{}: {}", printable(target.string()), why));
}

void check_replaceable(const fs::path& target,
                       const std::function<bool(const fs::path&)>& may_replace) {
  const fs::file_status status = fs::status(target);
  if (!fs::exists(status)) return;
  if (!fs::is_directory(status)) refuse(target, "is a file, the name of a folder was wanted");
  if (!fs::is_empty(target) && !may_replace(target))
    refuse(target, "is a folder with other things in it, an empty or a new one was wanted");
}

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

// For file systems that cannot exchange two names: the old folder steps aside first, and comes back
// where the new one cannot take its place.
void replace_in_two_steps(const fs::path& made, const fs::path& target) {
  const SignalsBlocked blocked;
  fs::path aside = made;
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

// Afterwards `made` is the old folder, or nothing where there was none or an empty one.
void put_in_place(const fs::path& made, const fs::path& target) {
  if (::rename(made.c_str(), target.c_str()) == 0) return;
  if (errno != EEXIST && errno != ENOTEMPTY && errno != ENOTDIR)
    throw_errno(target, "cannot be put in place");
  if (renameat2(AT_FDCWD, made.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) == 0) return;
  replace_in_two_steps(made, target);
}

// The temporary folder, removed with all that is in it.
struct Folder {
  Temporary temporary;
  explicit Folder(const fs::path& target) : temporary(target) {
    if (::mkdir(temporary.path().c_str(), 0777) != 0) throw_errno(target, "cannot be written");
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(temporary.path(), ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
};

void write_checked(const fs::path& target, const std::function<void(const fs::path&)>& fill,
                   const std::function<bool(const fs::path&)>& may_replace) {
  const fs::path path = tidy(target);
  check_replaceable(path, may_replace);
  const Folder made(path);
  fill(made.temporary.path());
  sync_tree(made.temporary.path());
  put_in_place(made.temporary.path(), path);
  sync_folder(path.parent_path());
}

}  // namespace

void write_folder(const fs::path& target, const std::function<void(const fs::path&)>& fill,
                  const std::function<bool(const fs::path&)>& may_replace) {
  try {
    write_checked(target, fill, may_replace);
  } catch (const fs::filesystem_error& error) {
    throw Error(Fault::kFormat, fmt::format("{}: cannot be written: {}", printable(target.string()),
                                            error.code().message()));
  }
}

}  // namespace espalier
