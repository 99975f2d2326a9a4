#include "apps/espalier/keyed_files.h"

#include <fmt/format.h>

#include "apps/espalier/load_data.h"
#include "apps/espalier/run_info.h"
#include "formats/format.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/base/mapped_file.h"
#include "lib/base/output_file.h"
#include "lib/base/sha256.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFirstLine = "espalier cache 1";
constexpr size_t kMostBytes = size_t{1} << 20;  // of a key file

std::vector<std::string> lines_of(const fs::path& file) {
  const auto mapped = MappedFile::open(file);
  const std::string_view text = as_text(mapped->bytes());
  std::vector<std::string> lines;
  if (text.size() > kMostBytes) return lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    lines.emplace_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

}  // namespace

std::string model_digest(const fs::path& model) { return digest_of(model_files(model)); }

std::string data_digest(const std::string& path) {
  return path.empty() ? "" : digest_of(data_files(path));
}

bool intact(const fs::path& file, const std::string& digest) {
  std::error_code ignored;
  return fs::exists(file, ignored) && digest_of({file}) == digest;
}

KeyedFiles::KeyedFiles(fs::path folder) : folder_(std::move(folder)) {
  std::error_code fault;
  fs::create_directories(folder_, fault);
  if (fault) {
    throw Error(Fault::kFormat, fmt::format("{}: cannot be written: {}",
                                            printable(folder_.string(), 4096), fault.message()));
  }
}

fs::path KeyedFiles::file(const std::string& made_of, const std::string& ending) const {
  return folder_ / (sha256(as_bytes(made_of)) + ending);
}

void KeyedFiles::warn_of(const fs::path& file, const std::string& why) {
  warn(fmt::format("{}: {}, so it is made anew", printable(file.string(), 4096), why));
}

std::optional<KeyedFiles::Found> KeyedFiles::find(const std::string& made_of,
                                                  const std::string& ending) const {
  Found found{file(made_of, ending), {}};
  const fs::path key = found.file.string() + ".key";
  std::error_code ignored;
  if (!fs::exists(key, ignored)) return std::nullopt;
  try {
    std::vector<std::string> lines = lines_of(key);
    if (lines.size() < 2 || lines[0] != kFirstLine) {
      warn_of(key, "is no key of a cache");
      return std::nullopt;
    }
    if (!intact(found.file, lines[1])) {
      warn_of(found.file, "is not what was written");
      return std::nullopt;
    }
    found.lines.assign(lines.begin() + 2, lines.end());
    return found;
  } catch (const Error& error) {
    warn_of(key, error.what());
    return std::nullopt;
  }
}

void KeyedFiles::keep(const std::string& made_of, const std::string& ending,
                      const std::vector<std::string>& lines,
                      const std::function<void(const fs::path&)>& write) const {
  const fs::path target = file(made_of, ending);
  try {
    write(target);
    std::string text = fmt::format("{}\n{}\n", kFirstLine, digest_of({target}));
    for (const std::string& line : lines) text += line + "\n";
    write_file(target.string() + ".key", as_bytes(text));
  } catch (const Error& error) {
    warn_once(folder_.string(), fmt::format("--cache: not kept: {}", error.what()));
  }
}

}  // namespace espalier
