#pragma once

#include <filesystem>
#include <memory>

#include "lib/base/byte_reader.h"

namespace espalier {

/// The bytes of a regular file, mapped read-only for as long as the object lives.
class MappedFile {
 public:
  /// Errors  Fault::kFormat: missing, not readable, not a regular file (a FIFO is never opened to
  /// block). The text starts with what is
  ///         wrong; the caller adds the file's name.
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);

  /// The same for `relative` below `folder`: an absolute path, a "..", and a symbolic link anywhere
  /// on the way are refused.
  static std::shared_ptr<const MappedFile> open_below(const std::filesystem::path& folder,
                                                      const std::filesystem::path& relative);

  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  Bytes bytes() const { return bytes_; }

 private:
  explicit MappedFile(Bytes bytes) : bytes_(bytes) {}
  static std::shared_ptr<const MappedFile> map(int descriptor);

  Bytes bytes_;
};

}  // namespace espalier
