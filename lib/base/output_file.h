#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/byte_reader.h"

namespace espalier {

/// Files that appear together or not at all: written beside their targets, synced, renamed by
/// commit(); an object that goes away before removes what it wrote, and so does a signal that ends
/// the program. After a kill the targets are the old files or none: the file that refers to the
/// others is added last, and its old version is taken away before the first of the others changes.
/// Errors  Fault::kFormat with the target's name in front: the folder is missing or not writable,
/// the target is a folder or a device, the disk is full.
class OutputFiles {
 public:
  OutputFiles();
  OutputFiles(const OutputFiles&) = delete;
  OutputFiles& operator=(const OutputFiles&) = delete;
  ~OutputFiles();

  /// Starts a file that will be `target`; write() appends to the file added last.
  void add(const std::filesystem::path& target);
  void write(Bytes bytes);

  /// Syncs and renames all files, in the order of add(). Not called twice.
  void commit();

 private:
  struct Pending;
  std::vector<std::unique_ptr<Pending>> pending_;
  bool committed_ = false;
};

/// A folder that appears whole: `fill` gets an empty folder beside `target`, which then takes the
/// target's place. An existing target is replaced only where it is empty or where `may_replace`
/// says so of it. Errors  Fault::kFormat: target is a file, or a folder that must not be replaced.
void write_folder(const std::filesystem::path& target,
                  const std::function<void(const std::filesystem::path&)>& fill,
                  const std::function<bool(const std::filesystem::path&)>& may_replace);

/// Writes one file whole, by rename.
void write_file(const std::filesystem::path& target, Bytes bytes);

/// Lets SIGINT, SIGTERM, SIGHUP and their like remove unfinished outputs before they end the
/// program. Called once, by main.
void remove_outputs_on_signals();

}  // namespace espalier
