#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/byte_reader.h"

namespace espalier {

/// Looks at a finished output before it takes its target's name; false: it is removed, and what the
/// target was stays. It may be read under the path given, until it has its name.
using AcceptOutput = std::function<bool(const std::filesystem::path& written)>;

/// A file, and data files of its own that it refers to, which appear together or not at all:
/// written beside the target, synced, renamed by commit(); an object that goes away before removes
/// what it wrote, and so does a signal that ends the program. After a kill the target is the old
/// file or the new one, each with its data: data files have names that nobody had before, get these
/// first, and belong to nobody until the target is renamed. What a killed run left behind is
/// removed by the next one that writes the same target.
/// Errors  Fault::kFormat with the target's name in front: the folder is missing or not writable,
/// the target is a folder or a device, the disk is full.
class OutputFiles {
 public:
  /// `left_behind` is called for each unfinished file of this target that a killed run left, before
  /// it is removed: it may remove what that file alone refers to.
  using LeftBehind = std::function<void(const std::filesystem::path& unfinished)>;
  /// Gives the files that only the old target refers to; called while no other run can change the
  /// folder. They are removed once the target is the new one.
  using Obsolete = std::function<std::vector<std::filesystem::path>()>;

  OutputFiles();
  OutputFiles(const OutputFiles&) = delete;
  OutputFiles& operator=(const OutputFiles&) = delete;
  ~OutputFiles();

  /// Starts a data file for `target` under a name that is free, "TARGET.data" or "TARGET.N.data",
  /// and returns it. Before add().
  std::filesystem::path add_data(const std::filesystem::path& target,
                                 const LeftBehind& left_behind = {});
  /// Starts the file that will be `target`. write() appends to the file that was started last.
  void add(const std::filesystem::path& target, const LeftBehind& left_behind = {});
  void write(Bytes bytes);

  /// Syncs, asks `accept` where there is one, and renames all files. False where it said no. Not
  /// called twice.
  bool commit(const AcceptOutput& accept = {}, const Obsolete& obsolete = {});

 private:
  struct Pending;
  void place_data();
  void place_target(const Obsolete& obsolete);
  std::vector<std::unique_ptr<Pending>> pending_;
  bool committed_ = false;
};

/// A folder that appears whole: `fill` gets an empty folder beside `target`, which then takes the
/// target's place, where `accept` says so. An existing target is replaced only where it is empty or
/// where `may_replace` says so of it.
/// Errors  Fault::kFormat: target is a file, or a folder that must not be replaced.
bool write_folder(const std::filesystem::path& target,
                  const std::function<void(const std::filesystem::path&)>& fill,
                  const std::function<bool(const std::filesystem::path&)>& may_replace,
                  const AcceptOutput& accept = {});

/// Writes one file whole, by rename.
void write_file(const std::filesystem::path& target, Bytes bytes);

/// Lets SIGINT, SIGTERM, SIGHUP and their like remove unfinished outputs before they end the
/// program. Called once, by main.
void remove_outputs_on_signals();

}  // namespace espalier
