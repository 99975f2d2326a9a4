#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "lib/base/byte_reader.h"

namespace espalier {

/// The bytes of a regular file, mapped read-only for as long as the object lives.
class MappedFile {
 public:
  /// Errors  Fault::kFormat: missing, not readable, not a regular file (a FIFO is never opened to
  /// block). The text starts with what is
  ///         wrong; the caller adds the file's name.
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);

  /// A part of a file; nothing of `length` means the rest.
  struct Range {
    size_t offset = 0;
    std::optional<size_t> length;
  };

  /// The same for `range` of the file `relative` below `folder`: an absolute path, a "..", and a
  /// symbolic link anywhere on the way are refused, and so is a range that ends past the file.
  static std::shared_ptr<const MappedFile> open_below(const std::filesystem::path& folder,
                                                      const std::filesystem::path& relative,
                                                      Range range = {0, std::nullopt});

  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  /// Gives the pages that lie within `bytes` back to the system, where they are of a mapped file:
  /// they are read again when they are looked at again. Other memory stays as it is.
  static void give_back(Bytes bytes);

  Bytes bytes() const { return bytes_; }           ///< of the range
  size_t file_size() const { return file_size_; }  ///< of the whole file

 private:
  MappedFile(Bytes mapped, size_t skip, size_t file_size);
  static std::shared_ptr<const MappedFile> map(int descriptor, Range range);

  Bytes mapped_;  ///< from the start of a page
  Bytes bytes_;
  size_t file_size_;
};

}  // namespace espalier
