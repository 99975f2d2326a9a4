#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "apps/espalier/common_options.h"
#include "apps/espalier/data_options.h"

namespace CLI {
class App;
}

namespace espalier {

/// What one command reads and writes, declared before any work: nothing that it reads is replaced.
/// `role` says to the user which file it is, as the command line calls it ("IN", "--json"). Paths
/// that are empty, and "-", are no files.
class CommandFiles {
 public:
  /// Errors, of all that reads  Fault::kFormat: it cannot be opened. So a misspelt path is reported
  /// before a large model is read.
  void reads(const std::string& role, const std::filesystem::path& path);
  /// With all files that the model consists of.
  void reads_model(const std::string& role, const std::filesystem::path& path);
  /// DATA: a file, or those files of a folder that are read as data.
  void reads_data(const std::string& role, const std::filesystem::path& path);
  /// --inputs and --labels.
  void reads(const DataOptions& options);

  /// All files of the model that was declared first.
  std::vector<std::filesystem::path> first_model() const;
  /// All files of data, labels included.
  std::vector<std::filesystem::path> data() const;

  /// Errors  Fault::kUsage: `path` is one of the files that are read, under whatever name, or of
  /// those that are written already, or a folder that holds one. Fault::kFormat: the folder that it
  /// is to be in does not exist.
  void writes(const std::string& role, const std::filesystem::path& path);
  /// The same for a file whose folder will be made.
  void creates(const std::string& role, const std::filesystem::path& path);
  /// The files of the report.
  void writes(const CommonOptions& options);
  /// OUT, which may be IN with `in_place`.
  void writes_model(const std::filesystem::path& path, bool in_place);

 private:
  struct File {
    std::string role;
    std::filesystem::path path;
    bool main;  // the file or folder that the user named
    enum class Kind { kModel, kData, kOther } kind = Kind::kOther;
  };
  const File* replaced_by(const std::filesystem::path& path, bool in_place) const;
  void check_not_written(const std::string& role, const std::filesystem::path& path);
  std::vector<File> read_, written_;
};

/// --in-place.
void add_in_place(CLI::App& app, bool& in_place);

}  // namespace espalier
