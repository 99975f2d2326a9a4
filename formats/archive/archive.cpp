#include "formats/archive/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include <algorithm>

#include "formats/archive/gunzip.h"
#include "formats/archive/member_name.h"
#include "lib/base/check.h"
#include "lib/base/checked_math.h"
#include "lib/base/limits.h"
#include "lib/base/utf8_locale.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBlock = 512;  // of a tar

struct CloseReader {
  void operator()(struct archive* reader) const { archive_read_free(reader); }
};

[[noreturn]] void fail(std::string text) { throw Error(Fault::kFormat, std::move(text)); }

std::string reason(struct archive* reader) {
  const char* text = archive_error_string(reader);
  return printable(text == nullptr ? "damaged" : text);
}

// Whether the member is a file; folders are skipped, everything else is refused.
bool is_file(archive_entry* entry) {
  if (archive_entry_hardlink(entry) != nullptr || archive_entry_filetype(entry) == AE_IFLNK)
    fail("is a link, expected a plain file");
  if (archive_entry_filetype(entry) == AE_IFDIR) return false;
  if (archive_entry_filetype(entry) != AE_IFREG) fail("is a device, expected a plain file");
  return true;
}

// The member's bytes where they lie: libarchive hands out spans of the memory it reads from.
Bytes data_in_place(struct archive* reader, archive_entry* entry, Bytes tar) {
  const auto size = static_cast<size_t>(std::max<la_int64_t>(0, archive_entry_size(entry)));
  if (size == 0) return {};
  const void* data = nullptr;
  size_t count = 0;
  la_int64_t offset = 0;
  if (archive_read_data_block(reader, &data, &count, &offset) != ARCHIVE_OK) fail(reason(reader));
  const auto* first = static_cast<const std::byte*>(data);
  const bool inside =
      !std::less<>()(first, tar.data()) && !std::less<>()(tar.data() + tar.size(), first + count);
  if (count != size || offset != 0 || !inside)
    fail(fmt::format("the archive ends too early or stores holes: expected {} contiguous bytes",
                     size));
  return {first, size};
}

// A tar ends with a block of zeros; without it the file was cut between two members.
void check_end(struct archive* reader, Bytes tar) {
  const auto read = static_cast<size_t>(archive_filter_bytes(reader, -1));
  const size_t end = std::min(read, tar.size());
  const Bytes last = tar.first(end).last(std::min(end, kBlock));
  if (!std::ranges::all_of(last, [](std::byte b) { return b == std::byte{0}; }))
    fail("archive ends too early: the zeros at the end of a tar are missing");
}

}  // namespace

size_t unpacked_limit(size_t bytes) {
  const auto limit = Checked<size_t>(bytes) * limits::archive_ratio + limits::archive_always;
  return std::min(limit.value_or(SIZE_MAX), SIZE_MAX / 2);
}

std::optional<ArchiveKind> archive_kind(Bytes bytes) {
  const std::string_view text = as_text(bytes);
  if (text.starts_with("\x1f\x8b")) return ArchiveKind::kTgz;
  if (text.size() > kBlock / 2 && text.substr(257).starts_with("ustar")) return ArchiveKind::kTar;
  return std::nullopt;
}

std::optional<ArchiveKind> archive_kind(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) return ArchiveKind::kFolder;
  try {
    return archive_kind(MappedFile::open(path)->bytes());
  } catch (const Error&) {
    return std::nullopt;
  }
}

Archive::Archive(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    folder_ = path;
    return;
  }
  const auto file = MappedFile::open(path);
  list({file->bytes(), file});
}

Archive::Archive(const Member& file) { list(file); }

void Archive::list(const Member& file) {
  const auto kind = archive_kind(file.bytes);
  if (!kind) fail("is not an archive: expected a folder, a tar or a tgz");
  kind_ = *kind;
  list_tar(kind_ == ArchiveKind::kTgz ? gunzip(file.bytes, unpacked_limit(file.bytes.size()))
                                      : file);
}

void Archive::list_tar(const Member& tar) {
  const Utf8Locale utf8;
  const std::unique_ptr<struct archive, CloseReader> reader(archive_read_new());
  archive_read_support_format_tar(reader.get());
  if (archive_read_open_memory(reader.get(), tar.bytes.data(), tar.bytes.size()) != ARCHIVE_OK)
    fail(fmt::format("is not a tar: {}", reason(reader.get())));
  archive_entry* entry = nullptr;
  int result;
  while ((result = archive_read_next_header(reader.get(), &entry)) != ARCHIVE_EOF) {
    if (result != ARCHIVE_OK && result != ARCHIVE_WARN) fail(reason(reader.get()));
    const char* raw = archive_entry_pathname(entry);
    if (raw == nullptr) fail("a member of the archive has a name that is not UTF-8");
    try {
      if (!is_file(entry)) continue;
      const Bytes bytes = data_in_place(reader.get(), entry, tar.bytes);
      if (!members_.emplace(normalised_name(raw), Member{bytes, tar.owner}).second)
        fail("duplicate member of the archive");
    } catch (Error& error) {
      error.add_context(printable(raw));
      throw;
    }
  }
  check_end(reader.get(), tar.bytes);
}

std::vector<std::string> Archive::names() const {
  std::vector<std::string> names;
  for (const auto& [name, member] : members_) names.push_back(name);
  if (kind_ != ArchiveKind::kFolder) return names;
  try {
    for (const auto& entry : fs::recursive_directory_iterator(folder_)) {
      if (entry.is_regular_file() && !entry.is_symlink())
        names.push_back(entry.path().lexically_relative(folder_).string());
    }
  } catch (const fs::filesystem_error& error) {
    fail(fmt::format("folder cannot be listed: {}", error.code().message()));
  }
  std::ranges::sort(names);
  return names;
}

bool Archive::contains(std::string_view name) const {
  const std::string normalised = normalised_name(name);
  if (kind_ != ArchiveKind::kFolder) return members_.contains(normalised);
  std::error_code missing;
  return fs::exists(fs::symlink_status(folder_ / normalised, missing));
}

Member Archive::read(std::string_view name) const {
  try {
    const std::string normalised = normalised_name(name);
    if (kind_ == ArchiveKind::kFolder) {
      const auto file = MappedFile::open_below(folder_, normalised);
      return {file->bytes(), file};
    }
    const auto found = members_.find(normalised);
    if (found == members_.end()) fail("is not in the archive");
    return found->second;
  } catch (Error& error) {
    error.add_context(printable(name));
    throw;
  }
}

}  // namespace espalier
