#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <exception>
#include <set>
#include <utility>

#include "formats/archive/archive.h"
#include "formats/archive/member_name.h"
#include "lib/base/error.h"
#include "lib/base/output_file.h"
#include "lib/base/utf8_locale.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

struct CloseWriter {
  void operator()(struct archive* writer) const { archive_write_free(writer); }
};
struct FreeEntry {
  void operator()(archive_entry* entry) const { archive_entry_free(entry); }
};

// A tar or tgz on its way into a file. libarchive is C and must not see an exception: what goes
// wrong while it hands out bytes is kept and thrown when it has returned.
class TarWriter {
 public:
  TarWriter(const fs::path& target, ArchiveKind kind) : writer_(archive_write_new()) {
    file_.add(target);
    archive_write_set_format_pax_restricted(writer_.get());
    if (kind == ArchiveKind::kTgz) {
      archive_write_add_filter_gzip(writer_.get());
      check(archive_write_set_options(writer_.get(), "gzip:!timestamp,gzip:compression-level=6"));
    }
    archive_write_set_bytes_per_block(writer_.get(), 1 << 16);
    archive_write_set_bytes_in_last_block(writer_.get(), 1);
    check(archive_write_open(writer_.get(), this, nullptr, take, nullptr));
  }

  void add(const std::string& name, const std::vector<Bytes>& pieces) {
    size_t size = 0;
    for (const Bytes piece : pieces) size += piece.size();
    const std::unique_ptr<archive_entry, FreeEntry> entry(archive_entry_new());
    archive_entry_set_pathname(entry.get(), name.c_str());
    archive_entry_set_filetype(entry.get(), AE_IFREG);
    archive_entry_set_perm(entry.get(), 0644);
    archive_entry_set_mtime(entry.get(), 0, 0);
    archive_entry_set_size(entry.get(), static_cast<la_int64_t>(size));
    check(archive_write_header(writer_.get(), entry.get()));
    for (const Bytes piece : pieces) write(piece);
  }

  bool finish(const AcceptOutput& accept) {
    check(archive_write_close(writer_.get()));
    return file_.commit(accept);
  }

 private:
  static la_ssize_t take(struct archive*, void* self, const void* bytes, size_t count) {
    auto* writer = static_cast<TarWriter*>(self);
    try {
      writer->file_.write({static_cast<const std::byte*>(bytes), count});
      return static_cast<la_ssize_t>(count);
    } catch (...) {
      writer->failure_ = std::current_exception();
      return -1;
    }
  }

  void write(Bytes bytes) {
    constexpr size_t kAtOnce = size_t{1} << 30;  // counts come back signed
    while (!bytes.empty()) {
      const size_t count = std::min(bytes.size(), kAtOnce);
      const la_ssize_t written = archive_write_data(writer_.get(), bytes.data(), count);
      check(written < 0 ? ARCHIVE_FATAL : ARCHIVE_OK);
      bytes = bytes.subspan(static_cast<size_t>(written));
    }
  }

  void check(int result) {
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
    if (result == ARCHIVE_OK) return;
    const char* text = archive_error_string(writer_.get());
    throw Error(Fault::kFormat, fmt::format("archive cannot be written: {}",
                                            printable(text == nullptr ? "unknown reason" : text)));
  }

  const Utf8Locale utf8_;
  OutputFiles file_;
  std::exception_ptr failure_;
  // Last, so that it goes first: closing it may still call take().
  std::unique_ptr<struct archive, CloseWriter> writer_;
};

// Hands on names that Archive reads back as they are, each once.
class Names {
 public:
  std::string accept(std::string_view name) {
    const auto refuse = [&](std::string_view why) {
      throw Error(Fault::kUnsupported,
                  fmt::format("{}: cannot be a name in an archive: {}", printable(name), why));
    };
    std::string normalised;
    try {
      normalised = normalised_name(name);
    } catch (const Error& error) {
      refuse(error.what());
    }
    if (normalised.find('\0') != std::string::npos) refuse("it contains a zero byte");
    if (!seen_.insert(normalised).second) refuse("it is already used");
    return normalised;
  }

 private:
  std::set<std::string, std::less<>> seen_;
};

bool write_tar(const fs::path& target, ArchiveKind kind,
               const std::function<void(const AddMember&)>& fill, const AcceptOutput& accept) {
  TarWriter writer(target, kind);
  Names names;
  fill([&](std::string_view name, const std::vector<Bytes>& pieces) {
    writer.add(names.accept(name), pieces);
  });
  return writer.finish(accept);
}

void fill_folder(const fs::path& folder, const std::function<void(const AddMember&)>& fill) {
  Names names;
  fill([&](std::string_view name, const std::vector<Bytes>& pieces) {
    const fs::path path = folder / names.accept(name);
    fs::create_directories(path.parent_path());
    OutputFiles file;
    file.add(path);
    for (const Bytes piece : pieces) file.write(piece);
    file.commit();
  });
}

}  // namespace

ArchiveKind archive_kind_for_output(const fs::path& path) {
  std::string name = path.filename().string();
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
  if (name.ends_with(".tar")) return ArchiveKind::kTar;
  if (name.ends_with(".tgz") || name.ends_with(".tar.gz")) return ArchiveKind::kTgz;
  return ArchiveKind::kFolder;
}

bool write_archive(const fs::path& target, const std::function<void(const AddMember&)>& fill,
                   const std::function<bool(const fs::path&)>& may_replace,
                   const AcceptOutput& accept) {
  const ArchiveKind kind = archive_kind_for_output(target);
  if (kind != ArchiveKind::kFolder) return write_tar(target, kind, fill, accept);
  return write_folder(
      target, [&](const fs::path& folder) { fill_folder(folder, fill); }, may_replace, accept);
}

}  // namespace espalier
