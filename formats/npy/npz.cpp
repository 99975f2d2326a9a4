#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "formats/npy/npy.h"
#include "formats/npy/npy_header.h"
#include "lib/base/checked_math.h"
#include "lib/base/mapped_file.h"
#include "lib/base/output_file.h"
#include "lib/base/utf8_locale.h"

namespace espalier {
namespace {

constexpr std::string_view kEnding = ".npy";
// Deflate makes at most 1032 bytes of one.
constexpr size_t kMostPerByte = 1032;

[[noreturn]] void fail(std::string text) { throw Error(Fault::kFormat, std::move(text)); }

struct CloseReader {
  void operator()(struct archive* reader) const { archive_read_free(reader); }
};
struct CloseWriter {
  void operator()(struct archive* writer) const { archive_write_free(writer); }
};
struct FreeEntry {
  void operator()(archive_entry* entry) const { archive_entry_free(entry); }
};

std::string reason(struct archive* archive) {
  const char* text = archive_error_string(archive);
  return printable(text == nullptr ? "damaged" : text);
}

// Appends at most `count` bytes of the current member; less only at its end.
void read_more(struct archive* reader, size_t count, std::string& bytes) {
  constexpr size_t kPiece = size_t{1} << 16;
  while (count > 0) {
    const size_t before = bytes.size();
    bytes.resize(before + std::min(count, kPiece));
    const la_ssize_t got = archive_read_data(reader, bytes.data() + before, bytes.size() - before);
    bytes.resize(before + static_cast<size_t>(std::max<la_ssize_t>(got, 0)));
    if (got < 0) fail(reason(reader));
    if (got == 0) return;
    count -= static_cast<size_t>(got);
  }
}

// The bytes that the member's own .npy header says it has. `budget` is what all members of the file
// can have unpacked to; what is not believed is not allocated.
std::string read_member(struct archive* reader, size_t& budget) {
  constexpr size_t kFirst = 65536 + 10;  // every header of version 1.0, and of sane others
  std::string bytes;
  read_more(reader, kFirst, bytes);
  ByteReader header_reader(as_bytes(bytes));
  const NpyHeader header = read_npy_header(header_reader);
  const size_t header_bytes = bytes.size() - header_reader.left();
  const auto wanted = checked_add(header_bytes, byte_count(header.dtype, header.shape));
  if (!wanted || *wanted > budget) {
    fail(fmt::format("{} of shape {} is more than the compressed bytes can unpack to",
                     name_of(header.dtype), to_string(header.shape)));
  }
  budget -= *wanted;
  if (*wanted > bytes.size()) read_more(reader, *wanted - bytes.size(), bytes);
  std::string rest;
  read_more(reader, 1, rest);  // one byte past the end: makes libarchive check the sum there
  if (bytes.size() > *wanted || !rest.empty()) {
    fail(fmt::format("unpacks to more than the {} bytes of {} of shape {} in its header", *wanted,
                     name_of(header.dtype), to_string(header.shape)));
  }
  return bytes;
}

// Names are keys, never paths: weights are called "/fc1/w", so slashes are fine. ".." is not: no
// weight needs it, and other programs unpack these files.
void check_name(std::string_view name) {
  if (fmt::format("/{}/", name).find("/../") != std::string::npos)
    fail(fmt::format("{}: name has a '..'", printable(name)));
  if (name.find('\0') != std::string_view::npos)
    fail(fmt::format("{}: name contains a zero byte", printable(name)));
}

std::string array_name(archive_entry* entry) {
  const char* raw = archive_entry_pathname(entry);
  if (raw == nullptr) fail("a member of the archive has a name that is not UTF-8");
  const std::string_view name = raw;
  if (!name.ends_with(kEnding) || archive_entry_filetype(entry) != AE_IFREG)
    fail(fmt::format("{}: is not a .npy array", printable(name)));
  check_name(name);
  return std::string(name.substr(0, name.size() - kEnding.size()));
}

// Calls visit(reader, name) for the members, in order, until it gives false.
template <typename Visit>
void for_each_member(Bytes file, const Visit& visit) {
  const Utf8Locale utf8;
  const std::unique_ptr<struct archive, CloseReader> reader(archive_read_new());
  archive_read_support_format_zip_seekable(reader.get());
  if (archive_read_open_memory(reader.get(), file.data(), file.size()) != ARCHIVE_OK)
    fail(fmt::format("is not a .npz file: {}", reason(reader.get())));
  archive_entry* entry = nullptr;
  int result;
  while ((result = archive_read_next_header(reader.get(), &entry)) != ARCHIVE_EOF) {
    if (result != ARCHIVE_OK) fail(reason(reader.get()));
    const std::string name = array_name(entry);
    try {
      if (!visit(reader.get(), name)) return;
    } catch (Error& error) {
      error.add_context(printable(name));
      throw;
    }
  }
}

// A large mask, which takes much less in the file, is unpacked again whenever it is looked at.
Tensor unpacked_again(std::shared_ptr<const MappedFile> file, const std::string& name,
                      const Tensor& once) {
  constexpr size_t kWorthDeferring = size_t{1} << 20;
  if (once.dtype() != DType::kBool || once.byte_size() < kWorthDeferring) return once;
  return Tensor::deferred(once.dtype(), once.shape(), [file, name] {
    Tensor result;
    for_each_member(file->bytes(), [&](struct archive* reader, const std::string& other) {
      size_t budget = SIZE_MAX;  // it was kept to when the file was read
      if (other == name) result = read_npy(as_bytes(read_member(reader, budget)));
      return other != name;
    });
    return result;
  });
}

// Reads the members one after another; all together may unpack to no more than the budget.
std::map<std::string, Tensor> read_npz(const std::shared_ptr<const MappedFile>& file) {
  // A zip without members is only its end, which libarchive does not take for a zip.
  if (as_text(file->bytes()).starts_with("PK\5\6")) return {};
  std::map<std::string, Tensor> arrays;
  size_t budget = checked_mul(file->bytes().size(), kMostPerByte).value_or(SIZE_MAX);
  for_each_member(file->bytes(), [&](struct archive* reader, const std::string& name) {
    if (arrays.contains(name)) fail("duplicate member of the archive");
    const Tensor once = read_npy(as_bytes(read_member(reader, budget)));
    arrays[name] = unpacked_again(file, name, once);
    return true;
  });
  return arrays;
}

// A zip on its way into a file. libarchive is C and must not see an exception: what goes wrong
// while it hands out bytes is kept and thrown when it has returned.
class ZipWriter {
 public:
  explicit ZipWriter(const std::filesystem::path& path) : writer_(archive_write_new()) {
    file_.add(path);
    archive_write_set_format_zip(writer_.get());
    check(archive_write_set_options(writer_.get(), "zip:compression=deflate"));
    archive_write_set_bytes_per_block(writer_.get(), 1 << 16);
    archive_write_set_bytes_in_last_block(writer_.get(), 1);
    check(archive_write_open(writer_.get(), this, nullptr, take, nullptr));
  }

  void add(const std::string& name, const Tensor& tensor) {
    check_name(name);
    const std::string header = npy_header(tensor.dtype(), tensor.shape());
    const std::unique_ptr<archive_entry, FreeEntry> entry(archive_entry_new());
    archive_entry_set_pathname(entry.get(), (name + std::string(kEnding)).c_str());
    archive_entry_set_filetype(entry.get(), AE_IFREG);
    archive_entry_set_perm(entry.get(), 0644);
    archive_entry_set_mtime(entry.get(), 0, 0);
    archive_entry_set_size(entry.get(),
                           static_cast<la_int64_t>(header.size() + tensor.byte_size()));
    check(archive_write_header(writer_.get(), entry.get()));
    write(as_bytes(header));
    write(tensor.bytes());
    tensor.give_back();
  }

  void finish() {
    check(archive_write_close(writer_.get()));
    file_.commit();
  }

 private:
  static la_ssize_t take(struct archive*, void* self, const void* bytes, size_t count) {
    auto* writer = static_cast<ZipWriter*>(self);
    try {
      writer->file_.write({static_cast<const std::byte*>(bytes), count});
      return static_cast<la_ssize_t>(count);
    } catch (...) {
      writer->failure_ = std::current_exception();
      return -1;
    }
  }

  void write(Bytes bytes) {
    constexpr size_t kAtOnce = size_t{1} << 30;  // counts come back signed, zlib's are 32 bits
    while (!bytes.empty()) {
      const size_t count = std::min(bytes.size(), kAtOnce);
      const la_ssize_t written = archive_write_data(writer_.get(), bytes.data(), count);
      check(written < 0 ? ARCHIVE_FATAL : ARCHIVE_OK);
      bytes = bytes.subspan(static_cast<size_t>(written));
    }
  }

  void check(int result) {
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
    if (result != ARCHIVE_OK)
      throw Error(Fault::kFormat, fmt::format("cannot be written: {}", reason(writer_.get())));
  }

  const Utf8Locale utf8_;
  OutputFiles file_;
  std::exception_ptr failure_;
  // Last, so that it goes first: closing it may still call take().
  std::unique_ptr<struct archive, CloseWriter> writer_;
};

}  // namespace

std::map<std::string, Tensor> read_npz_file(const std::filesystem::path& path) {
  try {
    return read_npz(MappedFile::open(path));
  } catch (Error& error) {
    error.add_context(printable(path.string()));
    throw;
  }
}

void write_npz_file(const std::filesystem::path& path,
                    const std::map<std::string, Tensor>& arrays) {
  ZipWriter writer(path);
  for (const auto& [name, tensor] : arrays) writer.add(name, tensor);
  writer.finish();
}

}  // namespace espalier
