#include <fmt/format.h>
#include <sys/stat.h>

#include "lib/base/file_sync.h"
#include "lib/base/output_file.h"
#include "lib/base/replace_folder.h"
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
  if (!fs::is_directory(status)) refuse(target, "is a file, expected the name of a folder");
  if (!fs::is_empty(target) && !may_replace(target))
    refuse(target, "is a folder with other files in it, expected an empty or a new one");
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
  replace_folder(made.temporary.path(), path);
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
