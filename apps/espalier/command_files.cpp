#include "apps/espalier/command_files.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "apps/espalier/load_data.h"
#include "formats/format.h"
#include "lib/base/error.h"
#include "lib/base/file_identity.h"
#include "lib/base/mapped_file.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kInput = "IN";

bool is_file(const fs::path& path) { return !path.empty() && path != "-"; }

// Where a file that may not exist yet will be.
fs::path place_of(const fs::path& path) {
  std::error_code fault;
  const fs::path whole = fs::weakly_canonical(fs::absolute(path, fault), fault);
  return fault ? path : whole;
}

std::string shown(const fs::path& path) { return printable(path.string()); }

void check_can_be_read(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) return;
  try {
    MappedFile::open(path);
  } catch (Error& error) {
    error.add_context(shown(path));
    throw;
  }
}

void check_folder_exists(const fs::path& path) {
  // A trailing slash names a folder: what must exist is the one around it.
  const fs::path file = path.has_filename() ? path : path.parent_path();
  const fs::path folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
  std::error_code fault;
  if (fs::is_directory(folder, fault)) return;
  if (!fault) fault = std::make_error_code(std::errc::not_a_directory);
  throw Error(Fault::kFormat,
              fmt::format("{}: cannot be written: {}", shown(path), fault.message()));
}

}  // namespace

void CommandFiles::reads(const std::string& role, const fs::path& path) {
  if (!is_file(path)) return;
  check_can_be_read(path);
  read_.push_back({role, path, true});
}

void CommandFiles::reads_model(const std::string& role, const fs::path& path) {
  if (!is_file(path)) return;
  check_can_be_read(path);
  for (const fs::path& file : model_files(path))
    read_.push_back({role, file, file == path, File::Kind::kModel});
}

void CommandFiles::reads_data(const std::string& role, const fs::path& path) {
  if (!is_file(path)) return;
  check_can_be_read(path);
  for (const fs::path& file : data_files(path))
    read_.push_back({role, file, file == path, File::Kind::kData});
}

void CommandFiles::reads(const DataOptions& options) {
  reads_data("--inputs", options.inputs);
  reads_data("--labels", options.labels);
}

std::vector<fs::path> CommandFiles::first_model() const {
  std::vector<fs::path> files;
  for (const File& file : read_) {
    if (file.kind != File::Kind::kModel) continue;
    if (file.main && !files.empty()) break;
    files.push_back(file.path);
  }
  return files;
}

std::vector<fs::path> CommandFiles::data() const {
  std::vector<fs::path> files;
  for (const File& file : read_) {
    if (file.kind == File::Kind::kData) files.push_back(file.path);
  }
  return files;
}

// In place, all of IN goes with it, but nothing else.
const CommandFiles::File* CommandFiles::replaced_by(const fs::path& path, bool in_place) const {
  const auto is_input = [&](const File& file) {
    return in_place && file.role == kInput && (file.main || fs::is_directory(path));
  };
  const auto found = std::ranges::find_if(
      read_, [&](const File& file) { return would_replace(path, file.path) && !is_input(file); });
  return found == read_.end() ? nullptr : &*found;
}

void CommandFiles::check_not_written(const std::string& role, const fs::path& path) {
  for (const File& other : written_) {
    if (!same_file(path, other.path) && place_of(path) != place_of(other.path)) continue;
    throw Error(Fault::kUsage, fmt::format("{}: is both {} and {}, expected one file for each",
                                           shown(path), other.role, role));
  }
  written_.push_back({role, path, true});
}

void CommandFiles::writes(const std::string& role, const fs::path& path) {
  creates(role, path);
  if (is_file(path)) check_folder_exists(path);
}

void CommandFiles::creates(const std::string& role, const fs::path& path) {
  if (!is_file(path)) return;
  if (const File* file = replaced_by(path, false); file != nullptr) {
    throw Error(Fault::kUsage,
                fmt::format("{}: {} would replace {}, which belongs to {}: expected another name",
                            shown(path), role, shown(file->path), file->role));
  }
  check_not_written(role, path);
}

void CommandFiles::writes(const CommonOptions& options) {
  writes("--json", options.json);
  writes("--html", options.html);
  writes("--md", options.markdown);
  writes("--csv", options.csv);
}

void CommandFiles::writes_model(const fs::path& path, bool in_place) {
  if (!is_file(path)) return;
  const auto input = std::ranges::find_if(
      read_, [](const File& file) { return file.role == kInput && file.main; });
  const bool itself = input != read_.end() && same_file(path, input->path);
  if (itself && !in_place) {
    throw Error(Fault::kUsage,
                fmt::format("{}: OUT is IN ({}): expected another name, or --in-place", shown(path),
                            shown(input->path)));
  }
  if (const File* file = replaced_by(path, itself); file != nullptr) {
    throw Error(Fault::kUsage,
                fmt::format("{}: OUT would replace {}, which belongs to {}: expected another name",
                            shown(path), shown(file->path), file->role));
  }
  check_not_written("OUT", path);
  check_folder_exists(path);
}

void add_in_place(CLI::App& app, bool& in_place) {
  app.add_flag("--in-place", in_place, "write to IN; allows OUT to be IN")
      ->group("What is written");
}

}  // namespace espalier
