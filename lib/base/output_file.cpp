#include "lib/base/output_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <set>
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
  int descriptor = -1;
  bool made = false;  // the temporary is ours to remove
  std::vector<std::byte> buffer;

  explicit Pending(const fs::path& target) : target(target), temporary(target) {
    descriptor = ::open(path(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (descriptor < 0) throw_errno(target, "cannot be written");
    made = true;
    buffer.reserve(kBufferBytes);
  }
  ~Pending() {
    if (descriptor >= 0) ::close(descriptor);
    if (made) ::unlink(path());
  }
  const char* path() const { return temporary.path().c_str(); }

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
    if (buffer.size() + bytes.size() > kBufferBytes) flush();
    if (bytes.size() >= kBufferBytes) return write_through(bytes);
    buffer.insert(buffer.end(), bytes.begin(), bytes.end());
  }
  void sync_and_close() {
    flush();
    if (::fsync(descriptor) != 0) throw_errno(target, "cannot be written");
    const int closed = std::exchange(descriptor, -1);
    if (::close(closed) != 0) throw_errno(target, "cannot be written");
  }
  void rename() {
    if (::rename(path(), target.c_str()) != 0)
      throw_errno(target, "cannot be moved to its final name");
    made = false;
  }
};

OutputFiles::OutputFiles() = default;
OutputFiles::~OutputFiles() = default;

void OutputFiles::add(const fs::path& target) {
  ESPALIER_CHECK(!committed_);
  check_target(target);
  if (!pending_.empty()) pending_.back()->flush();
  pending_.push_back(std::make_unique<Pending>(target));
}

void OutputFiles::write(Bytes bytes) {
  ESPALIER_CHECK(!pending_.empty() && !committed_);
  pending_.back()->write(bytes);
}

void OutputFiles::commit() {
  ESPALIER_CHECK(!committed_);
  std::set<fs::path> folders;
  for (const auto& file : pending_) {
    file->sync_and_close();
    folders.insert(file->target.parent_path());
  }
  // Of several files the last refers to the others: between the first rename and the last, its old
  // version would belong to files that are gone.
  if (pending_.size() > 1 && ::unlink(pending_.back()->target.c_str()) == 0)
    sync_folder(pending_.back()->target.parent_path());
  for (const auto& file : pending_) file->rename();
  for (const fs::path& folder : folders) sync_folder(folder);
  committed_ = true;
}

void write_file(const fs::path& target, Bytes bytes) {
  OutputFiles files;
  files.add(target);
  files.write(bytes);
  files.commit();
}

}  // namespace espalier
