#pragma once

#include <filesystem>

namespace espalier {

/// A path of an unfinished file or folder, known to the signal handlers of
/// remove_outputs_on_signals() for as long as the object lives. Made before the path exists and
/// gone after it was renamed or removed, so no signal finds a moment to leave it behind.
class Temporary {
 public:
  /// A path beside `target` that no other process uses: ".NAME.PID-NUMBER.part".
  /// Errors  Fault::kUnsupported for more than 64 at a time.
  explicit Temporary(const std::filesystem::path& target);
  ~Temporary();  ///< forgets the path, does not remove it
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  size_t slot_;
};

}  // namespace espalier
