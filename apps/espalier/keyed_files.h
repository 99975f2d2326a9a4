#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace espalier {

/// The digest of a model's files, and of those that a DATA argument names; "" of "".
std::string model_digest(const std::filesystem::path& model);
std::string data_digest(const std::string& path);

/// Whether `file` is there and what it was.
bool intact(const std::filesystem::path& file, const std::string& digest);

/// Files of a folder that are named by the digest of all that they were made of. NAME.key beside
/// each holds its digest and lines that belong to it; written last, so that what a killed run left
/// is either done or not there.
class KeyedFiles {
 public:
  /// Makes the folder. Errors  Fault::kFormat: that cannot be made.
  explicit KeyedFiles(std::filesystem::path folder);

  struct Found {
    std::filesystem::path file;
    std::vector<std::string> lines;
  };
  /// Nothing where it was not made before; nor, with a warning, where it is not what was written.
  std::optional<Found> find(const std::string& made_of, const std::string& ending) const;
  /// `write` gets the path. What cannot be written is not kept, with a warning.
  void keep(const std::string& made_of, const std::string& ending,
            const std::vector<std::string>& lines,
            const std::function<void(const std::filesystem::path&)>& write) const;

  /// Says that a file of this folder is of no use.
  static void warn_of(const std::filesystem::path& file, const std::string& why);

 private:
  std::filesystem::path file(const std::string& made_of, const std::string& ending) const;
  std::filesystem::path folder_;
};

}  // namespace espalier
