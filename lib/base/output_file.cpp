#include "lib/base/output_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "lib/base/check.h"
#include "lib/base/file_sync.h"
#include "lib/base/temporaries.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBufferBytes = size_t{1} << 16;

// /dev/null and its like must not be renamed over, nor /dev/stdout, which may lead to a plain file.
void check_target(const fs::path& target) {
  std::error_code missing;
  const fs::file_status status = fs::status(target, missing);
  const auto fail = [&](std::string_view what) {
    throw Error(Fault::kFormat, fmt::format("{}: {}", printable(target.string()), what));
  };
  if (!target.has_filename() || fs::is_directory(status)) fail("is a folder, expected a file");
  const fs::path folder = fs::weakly_canonical(fs::absolute(target).parent_path(), missing);
  const bool special = folder == "/dev" || folder.string().starts_with("/proc/");
  if (special || (fs::exists(status) && !fs::is_regular_file(status)))
    fail("is a device or a pipe, expected the name of a plain file");
}

}  // namespace

struct OutputFiles::Pending {
  fs::path target;
  Temporary temporary;
  std::unique_ptr<Temporary> placed;  // of data: the final name, until all is committed
  int descriptor = -1;
  bool made = false;  // what has the name here() is ours to remove
  bool empty = true;  // nothing was written so far
  std::vector<std::byte> buffer;

  // Called while the folder is locked.
  explicit Pending(const fs::path& target) : target(target), temporary(target) {
    descriptor = ::open(temporary.path().c_str(),
                        O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (descriptor < 0) throw_errno(target, "cannot be written");
    made = true;
    hold(descriptor);
    buffer.reserve(kBufferBytes);
  }
  ~Pending() {
    if (made) ::unlink(here().c_str());
    if (descriptor >= 0) ::close(descriptor);
  }
  const fs::path& here() const { return placed ? placed->path() : temporary.path(); }

  void write_through(Bytes bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::write(descriptor, bytes.data(), bytes.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) throw_errno(target, "cannot be written");
      bytes = bytes.subspan(static_cast<size_t>(count));
    }
  }
  void flush() {
    write_through(buffer);
    buffer.clear();
  }
  void write(Bytes bytes) {
    empty = empty && bytes.empty();
    if (buffer.size() + bytes.size() > kBufferBytes) flush();
    if (bytes.size() >= kBufferBytes) return write_through(bytes);
    buffer.insert(buffer.end(), bytes.begin(), bytes.end());
  }
  // It stays open, and with that held, until it has its name.
  void sync() {
    flush();
    if (::fsync(descriptor) != 0) throw_errno(target, "cannot be written");
  }
};

namespace {

bool is_taken(const fs::path& path) {
  std::error_code missing;
  return fs::exists(fs::symlink_status(path, missing));
}

// To a name that is nobody's: what another program has made there meanwhile is not replaced.
void rename_to_free(const fs::path& from, const fs::path& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return;
  const bool cannot = errno == EINVAL || errno == ENOSYS;  // such file systems
  if (!cannot || is_taken(to) || ::rename(from.c_str(), to.c_str()) != 0)
    throw_errno(to, "cannot be moved to its final name");
}

fs::path free_data_name(const fs::path& target, const FolderLock& lock) {
  for (size_t number = 0;; ++number) {
    fs::path path = target;
    path += number == 0 ? ".data" : fmt::format(".{}.data", number);
    remove_left_behind(path, lock);
    // Data that other runs are writing keep their names free for themselves.
    if (!is_taken(path) && !has_temporary(path)) return path;
  }
}

}  // namespace

OutputFiles::OutputFiles() = default;
OutputFiles::~OutputFiles() = default;

fs::path OutputFiles::add_data(const fs::path& target, const LeftBehind& left_behind) {
  ESPALIER_CHECK(!committed_ && pending_.empty());
  check_target(target);
  const FolderLock lock(target.parent_path());
  remove_left_behind(target, lock, left_behind);
  const fs::path name = free_data_name(target, lock);
  pending_.push_back(std::make_unique<Pending>(name));
  return name;
}

void OutputFiles::add(const fs::path& target, const LeftBehind& left_behind) {
  ESPALIER_CHECK(!committed_);
  check_target(target);
  if (!pending_.empty()) pending_.back()->flush();
  const FolderLock lock(target.parent_path());
  remove_left_behind(target, lock, left_behind);
  pending_.push_back(std::make_unique<Pending>(target));
}

void OutputFiles::write(Bytes bytes) {
  ESPALIER_CHECK(!pending_.empty() && !committed_);
  pending_.back()->write(bytes);
}

// From here on the data files are found under their names, and removed if the target never comes.
void OutputFiles::place_data() {
  const SignalsDeferred deferred;
  const FolderLock lock(pending_.back()->target.parent_path());
  for (size_t i = 0; i + 1 < pending_.size(); ++i) {
    Pending& file = *pending_[i];
    auto placed = std::make_unique<Temporary>(Temporary::Exactly{file.target});
    rename_to_free(file.temporary.path(), file.target);
    file.placed = std::move(placed);
  }
  if (pending_.size() > 1) sync_folder(pending_.back()->target.parent_path());
}

// A second name of the old target tells the next run what to remove, if this one is killed between
// the rename and the removal. Without such names (FAT) a kill there leaves the old data.
void OutputFiles::place_target(const Obsolete& obsolete) {
  const SignalsDeferred deferred;
  Pending& file = *pending_.back();
  const FolderLock lock(file.target.parent_path());
  const std::vector<fs::path> old = obsolete && lock.held() ? obsolete() : std::vector<fs::path>();
  const Temporary second_name(file.target);
  const bool named = !old.empty() && ::link(file.target.c_str(), second_name.path().c_str()) == 0;
  const int renamed = ::rename(file.temporary.path().c_str(), file.target.c_str());
  const int error = errno;
  if (renamed == 0) {
    for (const auto& pending : pending_) {
      pending->made = false;
      pending->placed.reset();  // a signal removes what is not committed, and this is
    }
    sync_folder(file.target.parent_path());
    for (const fs::path& path : old) ::unlink(path.c_str());
  }
  if (named) ::unlink(second_name.path().c_str());
  if (renamed == 0) return;
  errno = error;
  throw_errno(file.target, "cannot be moved to its final name");
}

bool OutputFiles::commit(const AcceptOutput& accept, const Obsolete& obsolete) {
  ESPALIER_CHECK(!committed_);
  committed_ = true;
  if (pending_.empty()) return true;
  std::erase_if(pending_, [&](const auto& file) { return file != pending_.back() && file->empty; });
  for (const auto& file : pending_) file->sync();
  place_data();
  if (accept && !accept(pending_.back()->temporary.path())) {
    pending_.clear();
    return false;
  }
  place_target(obsolete);
  pending_.clear();
  return true;
}

void write_file(const fs::path& target, Bytes bytes) {
  OutputFiles files;
  files.add(target);
  files.write(bytes);
  files.commit();
}

}  // namespace espalier
