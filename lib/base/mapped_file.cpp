#include "lib/base/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>

namespace espalier {
namespace {

[[noreturn]] void fail(std::string_view what) {
  throw Error(Fault::kFormat, fmt::format("{}: {}", what, std::strerror(errno)));
}

// What is mapped at this time, by address: bytes do not tell where they come from, and the pages of
// anything else than a file would lose what is in them.
class Mappings {
 public:
  void add(Bytes mapped) {
    const std::lock_guard lock(mutex_);
    ends_[mapped.data()] = mapped.data() + mapped.size();
  }
  void remove(Bytes mapped) {
    const std::lock_guard lock(mutex_);
    ends_.erase(mapped.data());
  }
  // Calls use() while the mapping that holds all of `bytes` cannot go.
  template <typename Use>
  void with(Bytes bytes, const Use& use) {
    const std::lock_guard lock(mutex_);
    const auto after = ends_.upper_bound(bytes.data());
    if (after == ends_.begin()) return;
    if (!std::less<>()(std::prev(after)->second, bytes.data() + bytes.size())) use();
  }

 private:
  std::mutex mutex_;
  std::map<const std::byte*, const std::byte*, std::less<>> ends_;
};

Mappings& mappings() {
  static Mappings all;
  return all;
}

}  // namespace

// Takes the descriptor over. The type is asked of the open file, so that nothing can be swapped
// between the two calls.
std::shared_ptr<const MappedFile> MappedFile::map(int descriptor, Range range) {
  struct Closer {
    int descriptor;
    ~Closer() { close(descriptor); }
  } closer{descriptor};
  struct stat status {};
  if (fstat(descriptor, &status) != 0) fail("cannot be examined");
  if (S_ISDIR(status.st_mode)) throw Error(Fault::kFormat, "is a folder, expected a file");
  if (!S_ISREG(status.st_mode)) throw Error(Fault::kFormat, "is not a regular file");
  const auto size = static_cast<size_t>(status.st_size);
  if (range.offset > size || range.length.value_or(0) > size - range.offset) {
    throw Error(Fault::kFormat, fmt::format("expected {} bytes from offset {} on, the file has {}",
                                            range.length.value_or(0), range.offset, size));
  }
  const size_t length = range.length.value_or(size - range.offset);
  if (length == 0) return std::shared_ptr<const MappedFile>(new MappedFile({}, 0, size));
  const size_t skip = range.offset % static_cast<size_t>(sysconf(_SC_PAGE_SIZE));
  void* address = mmap(nullptr, length + skip, PROT_READ, MAP_PRIVATE, descriptor,
                       static_cast<off_t>(range.offset - skip));
  if (address == MAP_FAILED) fail(fmt::format("{} bytes cannot be mapped", length));
  return std::shared_ptr<const MappedFile>(
      new MappedFile({static_cast<const std::byte*>(address), length + skip}, skip, size));
}

std::shared_ptr<const MappedFile> MappedFile::open(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) fail("cannot be opened");
  return map(descriptor, {0, std::nullopt});
}

std::shared_ptr<const MappedFile> MappedFile::open_below(const std::filesystem::path& folder,
                                                         const std::filesystem::path& relative,
                                                         Range range) {
  if (relative.empty() || relative.is_absolute())
    throw Error(Fault::kFormat,
                "path is absolute or empty, expected a name inside the model's folder");
  int here = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY);
  if (here < 0) fail("folder cannot be opened");
  // One step at a time with O_NOFOLLOW: no link on the way can lead out of the folder.
  for (auto part = relative.begin(); part != relative.end(); ++part) {
    const bool last = std::next(part) == relative.end();
    if (*part == "..") {
      close(here);
      throw Error(Fault::kFormat, "path has a '..', expected a name inside the model's folder");
    }
    const int next =
        openat(here, part->c_str(),
               O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW | (last ? 0 : O_DIRECTORY));
    const int error = errno;
    close(here);
    errno = error;
    if (next < 0 && (error == ELOOP || error == ENOTDIR))
      throw Error(
          Fault::kFormat,
          "path leads through a symbolic link, expected a plain file inside the model's folder");
    if (next < 0) fail("cannot be opened");
    here = next;
  }
  return map(here, range);
}

MappedFile::MappedFile(Bytes mapped, size_t skip, size_t file_size)
    : mapped_(mapped), bytes_(mapped.subspan(skip)), file_size_(file_size) {
  if (!mapped_.empty()) mappings().add(mapped_);
}

MappedFile::~MappedFile() {
  if (mapped_.empty()) return;
  mappings().remove(mapped_);
  munmap(const_cast<std::byte*>(mapped_.data()), mapped_.size());
}

void MappedFile::give_back(Bytes bytes) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGE_SIZE));
  const uintptr_t first = reinterpret_cast<uintptr_t>(bytes.data());
  const uintptr_t begin = (first + page - 1) / page * page,
                  end = (first + bytes.size()) / page * page;
  if (bytes.empty() || begin >= end) return;
  mappings().with(bytes, [&] {
    // Mapped privately and never written to: what the file holds is what comes back.
    madvise(const_cast<std::byte*>(bytes.data() + (begin - first)), end - begin, MADV_DONTNEED);
  });
}

}  // namespace espalier
