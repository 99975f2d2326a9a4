#pragma once

#include <filesystem>
#include <functional>

namespace espalier {

/// A path of an unfinished file or folder, known to the signal handlers of
/// remove_outputs_on_signals() for as long as the object lives. Made before the path exists and
/// gone after it was renamed or removed, so no signal finds a moment to leave it behind.
class Temporary {
 public:
  /// A path beside `target` that no other process uses: ".NAME.PID-NUMBER.part".
  /// Errors  Fault::kUnsupported for more than 64 at a time.
  explicit Temporary(const std::filesystem::path& target);
  /// This very path: an output that has its final name already and may still be taken back.
  struct Exactly {
    std::filesystem::path path;
  };
  explicit Temporary(Exactly exactly);
  ~Temporary();  ///< forgets the path, does not remove it
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  size_t slot_;
};

/// A lock on the names in a folder ("" is the current one), against other runs of this program:
/// whoever makes, renames or removes temporaries holds it. Released when the process ends, however
/// it ends. Where it is not to be had, because the file system has no locks or somebody holds it
/// for seconds, held() is false and nothing that was left behind is removed.
class FolderLock {
 public:
  explicit FolderLock(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  bool held() const { return held_; }

 private:
  int descriptor_ = -1;
  bool held_ = false;
};

/// Marks an open temporary as being written for as long as the descriptor is open: other runs then
/// know it from one that a killed run left behind. Called while the folder is locked.
void hold(int descriptor);

/// Removes what killed runs left beside `target`: unfinished files and folders that would have
/// become it. `before` sees each path first. The folder of `target` is locked by `lock`.
void remove_left_behind(const std::filesystem::path& target, const FolderLock& lock,
                        const std::function<void(const std::filesystem::path&)>& before = {});

/// Whether there is a temporary beside `target` that would become it.
bool has_temporary(const std::filesystem::path& target);

/// Whether a file of that name is a temporary, of whichever target.
bool is_temporary(const std::filesystem::path& path);

/// Signals that end the program wait until the object goes away: for the few system calls between
/// which files do not belong together. A second signal does not wait.
class SignalsDeferred {
 public:
  SignalsDeferred();
  ~SignalsDeferred();
  SignalsDeferred(const SignalsDeferred&) = delete;
  SignalsDeferred& operator=(const SignalsDeferred&) = delete;
};

/// An empty folder beside `target`, removed with all that is in it when the object goes away, and
/// by signals.
class HeldFolder {
 public:
  /// Errors  Fault::kFormat, with the target's name: it cannot be made.
  explicit HeldFolder(const std::filesystem::path& target);
  ~HeldFolder();
  HeldFolder(const HeldFolder&) = delete;
  HeldFolder& operator=(const HeldFolder&) = delete;
  const std::filesystem::path& path() const { return temporary_.path(); }

 private:
  Temporary temporary_;
  int descriptor_ = -1;
};

}  // namespace espalier
