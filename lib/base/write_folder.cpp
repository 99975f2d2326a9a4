#include <fmt/format.h>

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

bool write_checked(const fs::path& target, const std::function<void(const fs::path&)>& fill,
                   const std::function<bool(const fs::path&)>& may_replace,
                   const AcceptOutput& accept) {
  const fs::path path = tidy(target);
  check_replaceable(path, may_replace);
  const HeldFolder made(path);
  fill(made.path());
  if (accept && !accept(made.path())) return false;
  sync_tree(made.path());
  {
    const FolderLock lock(path.parent_path());
    replace_folder(made.path(), path);
  }
  sync_folder(path.parent_path());
  return true;
}

}  // namespace

bool write_folder(const fs::path& target, const std::function<void(const fs::path&)>& fill,
                  const std::function<bool(const fs::path&)>& may_replace,
                  const AcceptOutput& accept) {
  try {
    return write_checked(target, fill, may_replace, accept);
  } catch (const fs::filesystem_error& error) {
    throw Error(Fault::kFormat, fmt::format("{}: cannot be written: {}", printable(target.string()),
                                            error.code().message()));
  }
}

}  // namespace espalier
